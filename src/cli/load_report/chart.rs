//! One chart as inline SVG, with what is to be said of each place of it for whoever points at it. It knows no report.

use std::fmt::Write;

use serde_json::json;

use crate::cli::load_report::html::escaped;

/// A chart whose coordinates are shares of its area: 0 to 1 from the left and from below.
pub(super) struct Chart {
    /// Says what is drawn, for those who do not see it.
    pub(super) label: String,
    /// Places and names on the horizontal axis.
    pub(super) across: Vec<(f64, String)>,
    /// Places and names on the vertical axis.
    pub(super) up: Vec<(f64, String)>,
    /// What is drawn, first below.
    pub(super) lines: Vec<Line>,
    /// What is to be said, from the left.
    pub(super) stops: Vec<Stop>,
    /// Width and height in the page's pixels, as far as the page has room.
    pub(super) size: (f64, f64),
}

/// A line of a chart.
pub(super) struct Line {
    /// What it shows; one that is drawn for comparison only has its own name.
    pub(super) name: String,
    /// Number of its colour.
    pub(super) colour: usize,
    /// Whether it is of an earlier run.
    pub(super) earlier: bool,
    /// Whether what is below it is tinted.
    pub(super) filled: bool,
    /// From left to right.
    pub(super) points: Vec<(f64, f64)>,
}

/// What is to be said of one place.
pub(super) struct Stop {
    /// Where it is.
    pub(super) across: f64,
    /// What the place is called.
    pub(super) name: String,
    /// Number of the line, how high, and what it is.
    pub(super) values: Vec<(usize, f64, String)>,
}

impl Chart {
    /// The chart as a figure element.
    pub(super) fn svg(&self) -> String {
        let (wide, high) = (self.size.0 - LEFT - RIGHT, self.size.1 - TOP - BOTTOM);
        let x = |share: f64| LEFT + share * wide;
        let y = |share: f64| TOP + (1.0 - share) * high;
        let (left, right, floor) = (x(0.0), x(1.0), y(0.0));
        let mut svg = String::new();
        let mut put = |words: std::fmt::Arguments<'_>| {
            // Writing to a string cannot fail.
            let _ = svg.write_fmt(words);
        };
        put(format_args!(
            "<figure class=\"chart\" data-stops=\"{}\">\n<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\" tabindex=\"0\">\n",
            escaped(&self.stops(x, y)),
            self.size.0,
            self.size.1,
            escaped(&self.label),
        ));
        for (place, name) in &self.up {
            let at = y(*place);
            put(format_args!("<path class=\"grid\" d=\"M{left:.1} {at:.1}H{right:.1}\"/>"));
            put(format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" class=\"up\">{}</text>\n",
                left - 8.0,
                at + 4.0,
                escaped(name)
            ));
        }
        let mut free = f64::NEG_INFINITY;
        for (place, name) in &self.across {
            let at = x(*place);
            let class = if *place > 0.97 { "last" } else { "across" };
            put(format_args!("<path class=\"tick\" d=\"M{at:.1} {floor:.1}v4\"/>\n"));
            let half = name.chars().count() as f64 * LETTER / 2.0;
            if at - half < free {
                continue;
            }
            free = at + half + LETTER;
            put(format_args!(
                "<text x=\"{at:.1}\" y=\"{:.1}\" class=\"{class}\">{}</text>\n",
                floor + 18.0,
                escaped(name)
            ));
        }
        put(format_args!("<path class=\"axis\" d=\"M{left:.1} {floor:.1}H{right:.1}\"/>\n"));
        for line in &self.lines {
            let mut path = String::new();
            for (index, (across, up)) in line.points.iter().enumerate() {
                let letter = if index == 0 { 'M' } else { 'L' };
                let _ = write!(path, "{letter}{:.1} {:.1}", x(*across), y(*up));
            }
            let (Some((first, _)), Some((last, _))) = (line.points.first(), line.points.last()) else {
                continue;
            };
            let colour = line.colour % COLOURS;
            if line.filled {
                let (first, last) = (x(*first), x(*last));
                put(format_args!(
                    "<path class=\"area c{colour}\" d=\"{path}L{last:.1} {floor:.1}L{first:.1} {floor:.1}Z\"/>\n"
                ));
            }
            let earlier = if line.earlier { " earlier" } else { "" };
            put(format_args!("<path class=\"line c{colour}{earlier}\" d=\"{path}\"/>\n"));
        }
        svg.push_str("</svg>\n</figure>\n");
        svg
    }

    /// Which line is which, if that is a question.
    pub(super) fn legend(&self) -> String {
        if self.lines.len() < 2 {
            return String::new();
        }
        let item = |line: &Line| {
            let earlier = if line.earlier { " earlier" } else { "" };
            let name = escaped(&line.name);
            format!("<li><span class=\"key c{}{earlier}\"></span>{name}</li>", line.colour % COLOURS)
        };
        format!("<ul class=\"legend\">{}</ul>\n", self.lines.iter().rev().map(item).collect::<String>())
    }

    /// The same for the page's script: per stop its place, its name, and per line its name, colour, place and words.
    fn stops(&self, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) -> String {
        let tenth = |place: f64| (place * 10.0).round() / 10.0;
        let value = |(line, up, words): &(usize, f64, String)| {
            let line = self.lines.get(*line)?;
            Some(json!([line.name, line.colour % COLOURS, tenth(y(*up)), words]))
        };
        let stop = |stop: &Stop| {
            let values: Vec<_> = stop.values.iter().filter_map(value).collect();
            json!([tenth(x(stop.across)), stop.name, values])
        };
        // `to_string` of a value built here cannot fail; its keys are strings.
        serde_json::Value::from(self.stops.iter().map(stop).collect::<Vec<_>>()).to_string()
    }
}

/// Width of a letter, about.
const LETTER: f64 = 6.6;

/// Colours that the page's style has.
pub(super) const COLOURS: usize = 6;

/// Room for names of values.
const LEFT: f64 = 68.0;

/// Room for half of the last name below the axis.
const RIGHT: f64 = 16.0;

/// Room for half of the highest name.
const TOP: f64 = 10.0;

/// Room for names below the axis.
const BOTTOM: f64 = 28.0;
