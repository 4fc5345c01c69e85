//! What can go wrong in a command. Each is a whole sentence, and ends the program with code 1.

use std::io;
use std::path::PathBuf;

use crate::log::{ReadError, WriteError};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error("{path} has no tag {tag:?}; it has {there}")]
    NoSuchTag { path: PathBuf, tag: String, there: String },
    #[error("{path} holds no values{}", of(.tag))]
    Empty { path: PathBuf, tag: Option<String> },
    #[error("{0} is to be read and to be written; choose another file with -o")]
    SameFile(PathBuf),
    #[error("{a} and {b} have no tag in common ({a_tags}; {b_tags}); choose with --tag")]
    NothingInCommon { a: PathBuf, b: PathBuf, a_tags: String, b_tags: String },
    #[error("{runs} runs are too many for one picture, it has room for {max}; choose with --tag")]
    TooManyRuns { runs: usize, max: usize },
    #[error("{labels} labels for {files} files; give one --label for each file, or none")]
    Labels { labels: usize, files: usize },
    #[error("can't write {path}: {source}")]
    Picture { path: PathBuf, source: io::Error },
    #[error("can't draw the picture: {0}")]
    Drawing(String),
}

fn of(tag: &Option<String>) -> String {
    tag.as_ref().map(|tag| format!(" of {tag:?}")).unwrap_or_default()
}
