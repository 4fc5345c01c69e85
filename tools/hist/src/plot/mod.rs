//! `hutong-hist plot`: latency by percentile and over time, several runs in one picture.
//!
//! `data` is what there is to draw, `scale` where it goes, `picture` the drawing, `svg` the writing
//! of it, `png` the same in pixels. The picture is drawn once, as SVG; a PNG is made from that.

mod data;
mod picture;
mod png;
mod scale;
mod svg;

use std::fs;
use std::io;

use crate::args::{Plot, Theme, is_png};
use crate::error::Error;

/// The most runs in one picture: as many as there are colours that can be told apart.
pub const RUNS_MAX: usize = svg::COLOURS;

/// What is to be printed, and what is to be told aside.
///
/// # Errors
/// A log can't be read or holds no values, there are too many runs, or the picture can't be
/// written.
pub fn run(args: &Plot) -> Result<(String, Vec<String>), Error> {
    let (runs, warnings) = data::read(args)?;
    if runs.len() > RUNS_MAX {
        return Err(Error::TooManyRuns { runs: runs.len(), max: RUNS_MAX });
    }
    let theme = match args.theme {
        // Nobody asks who looks at it.
        Theme::Auto if is_png(&args.output) => Theme::Light,
        theme => theme,
    };
    let svg = picture::draw(&runs, &args.title, theme);
    let bytes = if is_png(&args.output) { png::render(&svg)? } else { svg.into_bytes() };
    fs::write(&args.output, bytes).map_err(|source| {
        let source = match source.kind() {
            io::ErrorKind::StorageFull => io::Error::other("the disk is full"),
            io::ErrorKind::NotFound => io::Error::other("there is no such folder"),
            _ => source,
        };
        Error::Picture { path: args.output.clone(), source }
    })?;
    let s = if runs.len() == 1 { "" } else { "s" };
    Ok((format!("{}: {} run{s}\n", args.output.display(), runs.len()), warnings))
}
