//! The renderings as a whole: aligned, bounded, and the same report again from the page.

use std::path::Path;

use anstream::adapter::strip_str;

use super::{html, markup, samples, show, sound, words};
use crate::cli::style::Output;
use crate::load::report::{Latency, Report, Sample};

/// As a terminal without colours shows it.
fn plain(report: &Report, earlier: &[Report], width: usize) -> Vec<String> {
    let lines = words(&sound(report), earlier, width).join("\n");
    lines.lines().map(|line| strip_str(line).to_string()).collect()
}

fn all() -> Vec<Report> {
    vec![samples::fanout(), samples::reconnect(), samples::empty(), samples::extreme()]
}

#[test]
fn a_table_looks_like_this() {
    let expected = "
fanout  10,000 connections, 12.4 s
  connections 10000 · outstanding 8 · payload 256 B · for 12s · server-pid 4242
  pushline 0.1.0, 4 cores, Linux 6.8.0

  throughput
    handshakes                  3.41 k/s  (1.00x)
    pushes accepted             31.2 /s   (1.00x)        387
    deliveries                   312 k/s  (2.00x)  3,870,000
    acks confirmed                                 3,870,000

  latency      p50      p90      p99     p99.9      max         count
    delivery  18.0 ms  35.1 ms  91.3 ms    237 ms  7.31 s   3,870,000
              (1.00x)  (1.00x)  (0.50x)   (1.00x)  (1.00x)
    ack       1.90 ms  4.47 ms  15.2 ms   51.7 ms  4.17 s   3,870,000
              (1.00x)  (1.00x)  (1.00x)   (1.00x)  (1.00x)
    enqueue    820 µs  1.38 ms  2.89 ms   4.47 ms  4.47 ms        387
    last      31.0 ms  41.2 ms  61.7 ms   78.3 ms  78.3 ms        387
              (1.00x)  (1.00x)  (1.00x)   (1.00x)  (1.00x)

  cost
    server CPU per delivery     4.08 µs   (1.00x)
    client CPU per delivery     1.93 µs   (1.00x)
    server CPU per handshake     241 µs   (1.00x)
    memory per idle connection  26.8 KiB  (1.00x)
    the same after a burst      28.4 KiB
    server memory before        14.0 MiB  (1.00x)
    server memory at most        326 MiB  (1.00x)
    server memory at the end     291 MiB  (1.00x)

  correctness
    lost                           0
    duplicated                     0
    wrong                          0
    failures                       0
";
    let report = samples::fanout();
    let mut earlier = report.clone();
    earlier.deliveries_per_second = report.deliveries_per_second.map(|rate| rate / 2.0);
    earlier.bytes_per_connection_after_burst = None;
    earlier.latency_ms.p99 *= 2.0;
    earlier.other_latency_ms.remove("enqueue");
    let shown = plain(&report, &[earlier], 80).join("\n");
    let table = shown.split("\n\n  delivery by quantile").next().unwrap();
    assert_eq!(table, expected.trim_end_matches('\n'), "\n{table}");
    assert!(shown.ends_with("\n\n  (ratios) to the run of 2026-09-21 14:13:20 UTC"), "{shown}");
}

#[test]
fn a_plot_looks_like_this() {
    let expected = "
  welcome by quantile
        5 s ┤
            │
        4 s ┤                                                          ⢀⣀⣀⣀⣀⣠
            │                                      ⢀⣀⣀⣀⣀⡠⠤⠤⠤⠤⠤⠒⠒⠒⠒⠚⠉⠉⠉⠉⠁
        3 s ┤                  ⢀⣀⣀⣀⣀⡤⠤⠤⠤⠤⠔⠒⠒⠒⠒⠊⠉⠉⠉⠉⠉
            │⣀⣀⣀⡠⠤⠤⠤⠤⠒⠒⠒⠒⠒⠊⠉⠉⠉⠉⠁
            │
        2 s ┤
            └┬────┬──────────┬───────────────┬───────────────┬───────────────
             0%  50%        90%             99%            99.9%

  over time
    deliveries     ▁▅▅▅▅▅▅▅▅▅▅█████████████████████████████  at most 2.40 k/s
    server memory  ▇▇▇▇▇▇██████████████████████████████████  267 MiB to 324 MiB
    server cores   ▁▁▁▁▁▁▁▁▁▁▁█████████████████████████████  at most 0.0100
    connections    ██████████▁▁▂▂▃▃▄▄▅▅▆▆▇▇████████████████  0 to 10,000
";
    let shown = plain(&samples::reconnect(), &[], 80).join("\n");
    let plot = &shown[shown.find("\n  welcome by quantile").unwrap()..];
    assert_eq!(plot.trim_end_matches('\n'), expected.trim_end_matches('\n'), "\n{plot}");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for report in all() {
        for width in [80, 81, 100, 200] {
            for earlier in [&[][..], &[sound(&report)]] {
                for line in plain(&report, earlier, width) {
                    assert!(line.chars().count() <= width, "{width}: {line}");
                    assert!(!line.chars().any(char::is_control), "{line:?}");
                    assert!(!line.contains("NaN") && !line.contains("inf"), "{line}");
                    assert_eq!(line, line.trim_end(), "nothing but spaces at its end");
                }
            }
        }
    }
    for width in 48..80 {
        for line in plain(&samples::fanout(), &[samples::fanout()], width) {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn few_points_make_no_broken_plot() {
    let curves: [&[(f64, f64)]; 7] = [
        &[],
        &[(0.5, 3.0)],
        &[(0.5, 3.0), (1.0, 4.0)],
        &[(0.5, 3.0), (0.9, 3.0), (1.0, 3.0)],
        &[(0.0, 0.0), (1.0, 0.0)],
        &[(1.0, 1.0), (1.0, 2.0)],
        &[(f64::NAN, 1.0), (0.5, f64::INFINITY), (0.9, 1.0)],
    ];
    for (curve, samples) in curves.iter().zip([0, 1, 2, 3, 2, 1, 0]) {
        let latency = Latency { count: 3, p50: 3.0, p90: 3.0, max: 4.0, curve: curve.to_vec(), ..Latency::default() };
        let sample = Sample { second: 1.0, deliveries_per_second: 7.0, ..Sample::default() };
        let report = sound(&Report { latency_ms: latency, timeline: vec![sample; samples], ..Report::default() });
        let lines = plain(&report, &[], 80);
        let drawn = lines.iter().filter(|line| line.chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c))).count();
        assert!((1..=8).contains(&drawn), "{curve:?}: {lines:#?}");
        let bars = lines.iter().find(|line| line.contains("at most 7"));
        assert_eq!(bars.is_some(), samples >= 2, "{lines:#?}");
        markup::read(&html::page(&[report], &[])).unwrap();
    }
}

#[test]
fn a_page_is_well_formed_and_holds_the_reports() {
    for reports in [all(), vec![samples::fanout()], vec![samples::empty()], vec![samples::extreme()], Vec::new()] {
        let reports: Vec<_> = reports.iter().map(sound).collect();
        for earlier in [&[][..], &reports] {
            let page = markup::read(&html::page(&reports, earlier)).unwrap();
            let [(kind, json), (bare, _)] = &page.scripts[..] else { panic!("{} scripts", page.scripts.len()) };
            assert_eq!((&**kind, &**bare), ("type=\"application/json\" id=\"reports\"", ""));
            assert!(!json.contains(['<', '>', '&']), "{json}");
            let read: Vec<Report> = serde_json::from_str(json).unwrap();
            assert_eq!(read, reports);
            for report in &reports {
                assert!(page.text.contains(report.scenario.split(' ').next().unwrap()));
            }
        }
    }
}

#[test]
fn a_page_fetches_nothing() {
    let html = html::page(&all().iter().map(sound).collect::<Vec<_>>(), &[]);
    let page = markup::read(&html).unwrap();
    for (element, attribute, value) in &page.attributes {
        assert!(!["src", "srcset", "style", "action"].contains(&&**attribute) && !attribute.starts_with("on"));
        assert!(attribute != "href" || value.starts_with("#run-"), "{element} {value}");
    }
    let style = &html[html.find("<style>").unwrap()..html.find("</style>").unwrap()];
    assert!(!style.contains("url(") && !style.contains("@import"));
    for word in ["fetch(", "import", "XMLHttpRequest", "innerHTML"] {
        assert!(!page.scripts[1].1.contains(word), "{word}");
    }
}

#[test]
fn charts_say_their_values_to_who_points_at_them() {
    let report = sound(&samples::fanout());
    let page = markup::read(&html::page(std::slice::from_ref(&report), &[])).unwrap();
    let charts: Vec<_> = page.attributes.iter().filter(|(_, name, _)| name == "data-stops").collect();
    assert_eq!(charts.len(), 4, "latency, deliveries, memory, cores");
    type Value = (String, u64, f64, String);
    let stops: Vec<(f64, String, Vec<Value>)> = serde_json::from_str(&charts[0].2).unwrap();
    assert!((20..=300).contains(&stops.len()), "{}", stops.len());
    assert!(stops.windows(2).all(|pair| pair[0].0 <= pair[1].0), "from left to right");
    let (_, name, values) = stops.last().unwrap();
    let values: Vec<_> = values.iter().map(|(name, _, _, words)| (&**name, &**words)).collect();
    assert_eq!(name, "slowest");
    assert_eq!(values, [("delivery", "7.31 s"), ("ack", "4.17 s"), ("enqueue", "4.47 ms"), ("last", "78.3 ms")]);
}

#[test]
fn json_gives_the_report_back() {
    for report in all().iter().map(sound) {
        let json = serde_json::to_string(&report).unwrap();
        assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), report);
    }
}

#[test]
fn a_page_is_written_whole_or_refused_with_a_reason() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("load.html");
    html::check(&path).unwrap();
    assert!(!path.exists(), "a check leaves nothing behind");
    std::fs::write(&path, "old").unwrap();
    html::check(&path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
    // Without reports nothing is printed; the page is written all the same.
    show(&[], Output { json: true }, Some(&path), &[]).unwrap();
    assert!(std::fs::read_to_string(&path).unwrap().ends_with("</html>\n"));

    let missing = folder.path().join("no/such.html");
    for (path, words) in [
        (&*missing, "No such file or directory"),
        (folder.path(), "it is a folder"),
        (Path::new("/dev/null"), "it is no ordinary file"),
    ] {
        for outcome in [html::check(path), show(&[], Output { json: true }, Some(path), &[])] {
            let refusal = format!("{:#}", outcome.unwrap_err());
            let expected = format!("cannot write {}: ", path.display());
            assert!(refusal.starts_with(&expected) && refusal.contains(words), "{refusal}");
        }
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn sizes_in_notes_are_as_in_the_report() {
    assert_eq!(super::size(341_835_776), "326 MiB");
}
