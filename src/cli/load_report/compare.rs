//! Earlier reports to compare with: reads them, and finds the one that a new report may be compared with. Figures of
//! runs that asked for different things are not compared.

use std::path::Path;

use anyhow::Context;

use crate::load::report::Report;

/// Reads what `--json` wrote: one report a line.
pub(in crate::cli) fn read(path: &Path) -> anyhow::Result<Vec<Report>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {shown} to compare with"))?;
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let reports = lines.map(|(index, line)| {
        let number = index + 1;
        serde_json::from_str(line)
            .with_context(|| format!("line {number} of {shown} is no report of `pushline load --json`"))
    });
    let reports: Vec<Report> = reports.collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(!reports.is_empty(), "{shown} holds no report to compare with");
    Ok(reports)
}

/// The newest earlier run of the same scenario that was asked for the same.
pub(super) fn find<'e>(report: &Report, earlier: &'e [Report]) -> Option<&'e Report> {
    let asked = asked(report);
    earlier.iter().rev().find(|other| other.scenario == report.scenario && self::asked(other) == asked)
}

/// What was asked, in any order, less what only says where the gateway is and where the outcome goes.
fn asked(report: &Report) -> Vec<(String, &str)> {
    let named = report.settings.iter().map(|(name, value)| (name.trim_start_matches('-').replace('_', "-"), &**value));
    let is_place = |name: &str| name.rsplit('-').next().is_some_and(|last| PLACES.contains(&last));
    let mut asked: Vec<_> = named.filter(|(name, _)| !is_place(name)).collect();
    asked.sort();
    asked
}

/// Last words of the names of settings that two runs may differ in and still be compared: a new build of the server has
/// another process id, often another address, and its outcome is kept elsewhere.
const PLACES: &[&str] = &[
    "pid", "address", "addr", "server", "device", "backend", "api", "port", "url", "ca", "cert", "key", "token",
    "json", "html", "compare", "file",
];

#[cfg(test)]
mod tests {
    use super::{find, read};
    use crate::load::report::Report;

    fn report(scenario: &str, settings: &[(&str, &str)], pushes: u64) -> Report {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Report { scenario: scenario.to_owned(), settings, pushes, ..Report::default() }
    }

    #[test]
    fn the_newest_run_that_asked_for_the_same_is_found() {
        let earlier = [
            report("fanout", &[("connections", "1000"), ("--server-pid", "7")], 1),
            report("fanout", &[("server_pid", "8"), ("connections", "1000")], 2),
            report("fanout", &[("connections", "2000")], 3),
            report("fanout", &[("connections", "4000"), ("server-cores", "1")], 4),
            report("unicast", &[("connections", "1000")], 5),
        ];
        let found = |report: &Report| find(report, &earlier).map(|report| report.pushes);
        assert_eq!(found(&report("fanout", &[("connections", "1000"), ("html", "x.html")], 0)), Some(2));
        assert_eq!(found(&report("fanout", &[("connections", "2000")], 0)), Some(3));
        assert_eq!(found(&report("fanout", &[("connections", "3000")], 0)), None);
        assert_eq!(found(&report("fanout", &[("connections", "4000")], 0)), None, "cores make a difference");
        assert_eq!(found(&report("fanout", &[], 0)), None);
        assert_eq!(found(&report("connect", &[("connections", "1000")], 0)), None);
    }

    #[test]
    fn what_json_wrote_is_read_and_anything_else_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("earlier.json");
        let reports = [report("fanout", &[("a", "1")], 1), report("connect", &[], 2)];
        let lines = reports.iter().map(|report| serde_json::to_string(report).unwrap() + "\n\n");
        std::fs::write(&path, lines.collect::<String>()).unwrap();
        assert_eq!(read(&path).unwrap(), reports);

        let refusal = || format!("{:#}", read(&path).unwrap_err());
        std::fs::write(&path, "\n{\"scenario\": 1}\n").unwrap();
        assert!(refusal().starts_with("line 2 of "), "{}", refusal());
        std::fs::write(&path, "\n").unwrap();
        assert!(refusal().ends_with("holds no report to compare with"), "{}", refusal());
        std::fs::remove_file(&path).unwrap();
        assert!(refusal().starts_with("cannot read "), "{}", refusal());
    }
}
