//! Writes the picture's lines and words as SVG.
//!
//! Everything that has a colour has a class, and the classes' colours are in one style sheet: of
//! the light theme, of the dark one, or of both with the reader's choice between them. A reader
//! that knows of no choice shows the light one, on its own background.

use std::fmt::Write;

use crate::args::Theme;

/// Runs that can be told apart.
pub const COLOURS: usize = 8;

/// For each run, after the palette of Okabe and Ito, which the colour-blind can tell apart. Yellow
/// and sky are too pale for white, blue and black too dark for black.
const LIGHT: [&str; COLOURS] =
    ["#0072b2", "#d55e00", "#009e73", "#aa4499", "#b8860b", "#56b4e9", "#7a4b2a", "#333333"];
const DARK: [&str; COLOURS] =
    ["#56b4e9", "#ff9248", "#2ec79b", "#e08ac4", "#f0d442", "#8f9dff", "#c9a27e", "#e6e6e6"];

/// Colours of what is not a run.
struct Ink {
    background: &'static str,
    text: &'static str,
    faint_text: &'static str,
    grid: &'static str,
    axis: &'static str,
}

const LIGHT_INK: Ink = Ink {
    background: "#ffffff",
    text: "#1c2128",
    faint_text: "#59636e",
    grid: "#e7eaee",
    axis: "#b4bcc6",
};
const DARK_INK: Ink = Ink {
    background: "#0d1117",
    text: "#e6edf3",
    faint_text: "#9aa4af",
    grid: "#20262e",
    axis: "#48515c",
};

/// A picture in the making.
pub struct Svg {
    text: String,
}

/// Where the words of [`Svg::text`] lie about their point.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

impl Svg {
    /// `description` is read to who can't see the picture.
    pub fn new(width: f64, height: f64, title: &str, description: &str, theme: Theme) -> Svg {
        let (title, description) = (escape(title), escape(description));
        let style = style(theme);
        let text = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" aria-labelledby=\"title desc\" \
             font-family=\"system-ui, 'Segoe UI', Helvetica, Arial, sans-serif\">\n\
             <title id=\"title\">{title}</title>\n<desc id=\"desc\">{description}</desc>\n\
             <style>\n{style}</style>\n\
             <rect class=\"background\" width=\"{width}\" height=\"{height}\"/>\n"
        );
        Svg { text }
    }

    /// A straight line of a class: `grid`, `axis`, or `neutral` as thick as a run's.
    pub fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.put(format_args!(
            "<path class=\"{class}\" d=\"M{x1:.1} {y1:.1}L{x2:.1} {y2:.1}\"/>\n"
        ));
    }

    /// A line through points, in the colour of a run. A single point becomes a dot.
    pub fn curve(&mut self, run: usize, style: &str, points: &[(f64, f64)]) {
        let mut path = String::new();
        for (at, (x, y)) in points.iter().enumerate() {
            let letter = if at == 0 { 'M' } else { 'L' };
            write!(path, "{letter}{x:.1} {y:.1}").expect("a string");
        }
        if let [(x, y)] = points {
            return self.dot(&format!("fill{run}"), (*x, *y), 3.0);
        }
        self.put(format_args!("<path class=\"run{run} {style}\" d=\"{path}\"/>\n"));
    }

    /// A dot of a class: `fill0` and so on for the runs, or `neutral-fill`.
    pub fn dot(&mut self, class: &str, (x, y): (f64, f64), radius: f64) {
        self.put(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\"/>\n"
        ));
    }

    /// Words of a class: `title`, `text` or `faint`.
    pub fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.put(format_args!(
            "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}\
             </text>\n"
        ));
    }

    pub fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("a string");
    }
}

fn style(theme: Theme) -> String {
    let shapes = "path{fill:none;stroke-linejoin:round;stroke-linecap:round}\n\
                  .grid,.axis{stroke-width:1}\n\
                  .bold{stroke-width:2}\n\
                  .thin{stroke-width:1.25;stroke-dasharray:5 4}\n\
                  text{font-size:13px}\n\
                  .title{font-size:20px}\n\
                  .heading{font-size:15px}\n";
    let (light, dark) = (colours(&LIGHT_INK, &LIGHT), colours(&DARK_INK, &DARK));
    match theme {
        Theme::Light => format!("{shapes}{light}"),
        Theme::Dark => format!("{shapes}{dark}"),
        Theme::Auto => {
            format!("{shapes}{light}@media (prefers-color-scheme: dark){{\n{dark}}}\n")
        }
    }
}

fn colours(ink: &Ink, runs: &[&str; COLOURS]) -> String {
    let Ink { background, text, faint_text, grid, axis } = ink;
    let mut css = format!(
        ".background{{fill:{background}}}\n.grid{{stroke:{grid}}}\n.axis{{stroke:{axis}}}\n\
         .title,.heading,.text{{fill:{text}}}\n.faint{{fill:{faint_text}}}\n\
         .neutral{{stroke:{faint_text}}}.neutral-fill{{fill:{faint_text}}}\n"
    );
    for (run, colour) in runs.iter().enumerate() {
        writeln!(css, ".run{run}{{stroke:{colour}}}.fill{run}{{fill:{colour}}}").expect("a string");
    }
    css
}

/// As XML wants it. Characters that it can't hold become the sign for that.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
