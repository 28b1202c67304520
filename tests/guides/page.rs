//! A page and its examples: which blocks are commands, which are what they print, and how both are compared.
//!
//! - ` ```sh ` is run to its end; a block ` ```text ` or ` ```json ` right behind it is what it prints.
//! - ` ```sh background=NAME ` goes on; ` ```text NAME ` later on is what it printed since it was shown last.
//! - Other blocks are not run.

use super::shell::Shell;
use super::support::PATIENCE;
use super::text::{Ids, same_json, same_text};

/// A fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// What stands behind the fence: language first.
    info: String,
    /// Where its text begins in the page, in lines from 0; and where it ends, exclusive.
    from: usize,
    upto: usize,
    text: String,
    /// Whether only blank lines stand between it and the block before.
    follows: bool,
}

/// All fenced blocks of a page.
pub(crate) fn blocks(source: &str) -> Vec<Block> {
    let lines: Vec<_> = source.lines().collect();
    let mut blocks: Vec<Block> = Vec::new();
    let mut at = 0;
    let mut closed_at = None;
    while at < lines.len() {
        let Some(info) = lines[at].strip_prefix("```") else {
            if !lines[at].trim().is_empty() {
                closed_at = None;
            }
            at += 1;
            continue;
        };
        let from = at + 1;
        let upto = (from..lines.len()).find(|line| lines[*line].starts_with("```"));
        let upto = upto.unwrap_or_else(|| panic!("line {from}: the block is not closed"));
        let text: String = lines[from..upto].iter().flat_map(|line| [*line, "\n"]).collect();
        blocks.push(Block { info: info.trim().to_owned(), from, upto, text, follows: closed_at.is_some() });
        closed_at = Some(upto);
        at = upto + 1;
    }
    blocks
}

/// Whether what happens is put into the pages.
pub(crate) fn writes() -> bool {
    std::env::var_os("PUSHLINE_GUIDES").is_some_and(|value| value == "write")
}

/// Runs the blocks, and gives the page with what happened in it.
pub(crate) async fn run(blocks: &[Block], source: &str, shell: &mut Shell) -> String {
    let mut lines: Vec<String> = source.lines().map(str::to_owned).collect();
    let mut ids = Ids::default();
    // What each block is to hold instead.
    let mut changes: Vec<(&Block, String)> = Vec::new();
    let mut compared = 0;
    for (index, block) in blocks.iter().enumerate() {
        let words: Vec<_> = block.info.split(' ').collect();
        let (language, rest) = (words[0], words.get(1).copied());
        if language == "sh" {
            changes.push((block, ids.known_in(&block.text)));
            if let Some(name) = rest.and_then(|rest| rest.strip_prefix("background=")) {
                shell.begin(name, &ids.known_in(&block.text)).await;
                continue;
            }
            let answer = blocks.get(index + 1).filter(|next| next.follows && is_answer(next, None));
            let printed = foreground(block, answer, shell, &mut ids).await;
            if let Some(answer) = answer {
                compared += 1;
                changes.push((answer, laid_out(answer, printed)));
            }
        } else if let Some(name) = rest.filter(|name| is_answer(block, Some(name))) {
            let printed = background(block, name, shell, &mut ids).await;
            compared += 1;
            changes.push((block, printed));
        }
    }
    assert!(compared > 5, "only {compared} examples were compared: the page is not read as it should");
    for (block, printed) in changes.into_iter().rev() {
        let printed = printed.trim_end().lines().map(str::to_owned);
        lines.splice(block.from..block.upto, printed);
    }
    lines.join("\n") + "\n"
}

fn is_answer(block: &Block, name: Option<&str>) -> bool {
    let mut words = block.info.split(' ');
    matches!(words.next(), Some("text" | "json")) && words.next() == name
}

/// Runs a block to its end. A question is asked until its answer is as shown, as what it asks for may be under way.
async fn foreground(block: &Block, answer: Option<&Block>, shell: &mut Shell, ids: &mut Ids) -> String {
    let place = format!("line {}", block.from + 1);
    let command = ids.known_in(&block.text);
    let clock = pushline::model::clock::Clock::new();
    let begun = clock.now().moment;
    if writes() && is_question(&block.text) {
        // What is asked for may be under way, and nobody knows yet how the answer is to be.
        tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
    }
    loop {
        let (succeeded, printed) = shell.run(&command).await;
        let fails = answer.is_some_and(|answer| answer.text.contains("error:") || answer.text.contains("\"errno\""));
        let fault = match answer {
            _ if writes() => None,
            None if !succeeded => Some("it failed".to_owned()),
            None => None,
            Some(_) if succeeded == fails => Some(format!("it {}", if fails { "succeeded" } else { "failed" })),
            Some(answer) => compare(answer, &printed, ids).err(),
        };
        if writes() {
            ids.learn(answer.map_or("", |answer| &answer.text), &printed);
        }
        let Some(fault) = fault else { return printed };
        let late = clock.now().moment.since(begun) > PATIENCE;
        assert!(is_question(&block.text) && !late, "{place}: {fault}\n{command}\n{printed}");
    }
}

/// Waits until a command in the background printed what is shown.
async fn background(block: &Block, name: &str, shell: &mut Shell, ids: &mut Ids) -> String {
    let printed = shell.printed(name, writes(), |printed| compare(block, printed, ids)).await;
    if !writes() {
        return printed;
    }
    let mut lines: Vec<_> = printed.lines().collect();
    if block.text.starts_with("...") {
        // What the page leaves out it goes on to leave out.
        lines.drain(..(lines.len() + 1).saturating_sub(block.text.lines().count()));
        lines.insert(0, "...");
    }
    let printed = lines.join("\n");
    ids.learn(&block.text, &printed);
    printed
}

fn compare(answer: &Block, printed: &str, ids: &mut Ids) -> Result<(), String> {
    if answer.info.starts_with("json") {
        same_json(&answer.text, printed, ids)
    } else {
        same_text(&answer.text, printed, ids)
    }
}

/// JSON that is too long for a line, on several; many objects stay as they are, one a line.
fn laid_out(answer: &Block, printed: String) -> String {
    if !answer.info.starts_with("json") || printed.lines().count() > 1 || printed.len() <= WIDTH {
        return printed;
    }
    let value: serde_json::Value = serde_json::from_str(&printed).expect("it was compared");
    serde_json::to_string_pretty(&value).expect("JSON")
}

/// Columns of a page.
const WIDTH: usize = 124;

/// Whether a command only asks.
fn is_question(text: &str) -> bool {
    let text = text.replace("\\\n", " ");
    text.lines().filter(|line| !line.trim().is_empty()).all(|line| {
        let line = line.trim();
        QUESTIONS.iter().any(|question| line.starts_with(question))
            || line.starts_with("curl") && !line.contains(" -d") && !line.contains(" -X")
    })
}

const QUESTIONS: [&str; 10] = [
    "pushline receipts",
    "pushline trace",
    "pushline tag",
    "pushline presence",
    "pushline audience",
    "pushline user show",
    "pushline group show",
    "pushline group list",
    "pushline topic show",
    "pushline webhook list",
];
