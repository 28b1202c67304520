//! The examples of the guides, run as they stand there against a real gateway: what a page shows is what happens. Ids,
//! times and the like differ from run to run and are compared by their form only.
//!
//! `PUSHLINE_GUIDES=write cargo test --test guides` puts what happens into the pages instead: read the difference.

#[path = "guides/page.rs"]
mod page;
#[path = "guides/shell.rs"]
mod shell;
mod support;
#[path = "guides/text.rs"]
mod text;

use std::time::Duration;

use support::Gateway;

/// Runs all examples of a page.
async fn check(name: &str) {
    let gateway = Gateway::start_with(|config| {
        // A page does not wait for what is a matter of seconds.
        config.presence.debounce = Duration::from_millis(50);
    })
    .await;
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name);
    let source = std::fs::read_to_string(&path).expect("the page is there");
    let mut shell = shell::Shell::new(&gateway).await;
    let written = page::run(&page::blocks(&source), &source, &mut shell).await;
    if page::writes() {
        std::fs::write(&path, written).expect("the page can be written");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_targeting_are_what_happens() {
    check("targeting.md").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_receipts_are_what_happens() {
    check("receipts.md").await;
}
