//! The rules of the architecture, as a test. `docs/ARCHITECTURE.md` tells what they are for.
//!
//! Reads the sources as text, line by line, and trusts that rustfmt has been there. Comments don't
//! count, but for the rules about comments. Each failure says which rule, where, and why it is one.
//! An exemption is a line in a list here, with its reason.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What a module may import of this crate, besides itself. The first line that fits counts. An
/// entry with `::` allows one part of a module only.
///
/// The core comes first, from what knows least to what knows most. Siblings don't import each
/// other: they meet in `shard`.
const IMPORTS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("limits", &[]),
    ("kafka", &["limits", "model"]),
    ("duplex", &["limits", "model"]),
    ("journal", &["limits", "model"]),
    ("replica", &["journal", "limits", "model"]),
    ("partition", &["limits", "model"]),
    ("coordinator", &["limits", "model"]),
    ("metadata", &["limits", "model"]),
    (
        "shard",
        &[
            "coordinator",
            "duplex",
            "journal",
            "kafka",
            "limits",
            "metadata",
            "model",
            "partition",
            "replica",
        ],
    ),
    // Of `limits` and `model` the words, of `journal` pages and sources, of `shard` the boundary,
    // of `kafka` only where a frame ends: sockets give bytes, and the shard takes whole frames. Of
    // `metadata` which groups a node has. Of `duplex` the frames, for a shard that must ask other
    // nodes before it can begin.
    (
        "runtime",
        &[
            "config",
            "duplex",
            "journal",
            "kafka::frame",
            "limits",
            "metadata::placement",
            "model",
            "shard",
        ],
    ),
    ("config", &["limits", "model"]),
    // Reads the files of a stopped node, so it knows what is in them, and recovers as a start does.
    (
        "cli/journal",
        &[
            "config",
            "coordinator",
            "journal",
            "kafka",
            "limits",
            "metadata",
            "model",
            "partition",
            "replica",
            "runtime",
            "shard",
        ],
    ),
    // Asks nodes what no Kafka client may.
    ("cli/cluster_cmd", &["config", "model", "runtime", "shard::peers"]),
    // A tool like any other client: of the broker it knows how to start it.
    ("cli", &["config", "limits", "model", "runtime"]),
    ("lib", &[]),
    ("main", &[]),
];

/// All that runs in the simulator as well: plain Rust without I/O.
const CORE: &[&str] = &[
    "model",
    "limits",
    "kafka",
    "duplex",
    "journal",
    "replica",
    "partition",
    "coordinator",
    "metadata",
    "shard",
];

/// Words that only some modules may use.
const ONLY_IN: &[(&str, &[&str], &str)] = &[
    ("io_uring::", &["runtime"], "the core does no I/O"),
    ("async_task", &["runtime"], "only the executor makes tasks"),
    ("std::fs", &["runtime", "cli", "config"], "the core does no I/O; config reads one file"),
    ("std::net", &["runtime", "cli", "config"], "the core has no sockets; config reads addresses"),
    ("std::thread", &["runtime", "cli"], "the core runs on the thread that drives it"),
    ("std::os", &["runtime", "cli"], "the core knows no system"),
    ("Instant::now", &["runtime", "cli"], "the core is told the time"),
    ("SystemTime", &["runtime"], "the core is told the time"),
    ("nix::", &["runtime", "cli", "config"], "the core knows no system"),
    ("unsafe", &["runtime", "cli"], "only calls into the system need it"),
    ("raft::", &["replica"], "Raft's types stop at replica"),
    ("kafka_protocol", &["kafka", "shard", "cli"], "Kafka's types stop at shard; cli is a client"),
    ("clap", &["config", "cli"], "nothing else reads arguments"),
    ("tracing", &["runtime", "cli"], "the core says what is to be logged by Output::Log"),
    // In kafka one test helper returns what the crate's encoder does.
    ("anyhow", &["runtime", "cli", "kafka"], "the core's errors have types"),
];

/// Words that the core must do without.
const NOT_IN_CORE: &[(&str, &str)] = &[
    ("Rc<RefCell", "one owner for everything: borrow the part that changes"),
    ("RefCell", "one owner for everything: borrow the part that changes"),
    ("Arc<", "a shard shares nothing with another thread"),
    ("Mutex", "a shard takes no locks"),
    ("RwLock", "a shard takes no locks"),
    ("Atomic", "a shard shares nothing with another thread"),
    ("async fn", "the core is called, it never waits"),
    (".await", "the core is called, it never waits"),
    ("flume", "shards talk by Output::SendShard and Input::FromShard"),
    ("mpsc", "shards talk by Output::SendShard and Input::FromShard"),
    (" HashMap", "its order is random, so a run could not be repeated: FxHashMap or BTreeMap"),
    ("RandomState", "randomness comes from the seed alone"),
    ("thread_rng", "randomness comes from the seed alone"),
    ("std::env", "the core is given its settings"),
    ("println!", "the core says what is to be logged by Output::Log"),
    ("cfg(feature", "the core that is tested is the core that runs"),
    ("cfg(debug_assertions", "the core that is tested is the core that runs"),
];

/// Macros that must not stay. Written apart, or this file would break its own rule.
const LEFT_BEHIND: &[&str] = &[concat!("todo", "!("), concat!("unimpl", "emented!("), "dbg!("];

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
const LINE_CHARS_MAX: usize = 100;

/// Longer files, with the reason. Better cut the file than add a line.
const LONG_FILES: &[(&str, &str)] = &[];

/// Longer functions, with the reason. Better cut the function than add a line.
const LONG_FUNCTIONS: &[(&str, &str, &str)] =
    &[("tests/api_versions.rs", "body", "a list: one short arm for each API")];

/// Files of the core with test code outside of a module of tests, with the reason.
const TEST_CODE: &[(&str, &str)] = &[
    ("src/kafka/api.rs", "made by the macro that knows all requests"),
    ("src/kafka/bounds.rs", "tests must know where the walk found counts, to falsify them"),
    ("src/kafka/error_code.rs", "made by the macro that knows all codes"),
];

/// The headings of a kernel note, in order.
const NOTE_HEADINGS: &[&str] =
    &["## Question", "## Kernel", "## Command", "## Result", "## Decision", "## Relied on by"];

#[test]
fn imports_go_only_where_the_table_allows() {
    let mut broken = Vec::new();
    for file in sources() {
        let below = |module: &str| {
            let rest = file.path["src/".len()..].strip_prefix(module);
            rest.is_some_and(|rest| rest.starts_with(['/', '.']))
        };
        let Some((_, allowed)) = IMPORTS.iter().find(|(module, _)| below(module)) else {
            broken.push(format!("{}: its module {} is not in IMPORTS", file.path, file.module));
            continue;
        };
        for (number, line) in file.code() {
            for module in paths_behind(line, "crate::") {
                let is_part = |entry: &&str| {
                    let (of, part) = entry.split_once("::").unwrap_or_default();
                    of == module && paths_behind(line, &format!("crate::{of}::")).all(|p| p == part)
                };
                let may = allowed.contains(&module) || allowed.iter().any(is_part);
                if module != file.module && !may {
                    broken.push(format!(
                        "{}:{number}: {} imports crate::{module}; it may import {allowed:?} only",
                        file.path, file.module
                    ));
                }
            }
            if line.contains("crate::{") {
                broken.push(format!("{}:{number}: write one `use crate::` for each", file.path));
            }
            if supers(line) > file.depth - 1 + usize::from(line.starts_with(' ')) {
                broken.push(format!(
                    "{}:{number}: `super` leaves the module: write crate::",
                    file.path
                ));
            }
        }
    }
    report("modules import only what is below them, and never a sibling", &broken);
}

#[test]
fn the_simulator_runs_the_core_alone() {
    let mut broken = Vec::new();
    for file in files("tools/sim", ".rs").into_iter().map(source) {
        for (number, line) in file.code() {
            for module in paths_behind(line, "hutong::") {
                if !CORE.contains(&module) {
                    broken.push(format!("{}:{number}: hutong::{module}", file.path));
                }
            }
        }
    }
    report("what is simulated is the core, and nothing that does I/O", &broken);
}

#[test]
fn words_stay_where_they_belong() {
    let mut broken = Vec::new();
    for file in sources() {
        for (number, line) in file.code() {
            for (word, allowed, why) in ONLY_IN {
                if has_word(line, word) && !allowed.contains(&file.module.as_str()) {
                    broken.push(format!(
                        "{}:{number}: `{word}` belongs into {allowed:?} only: {why}",
                        file.path
                    ));
                }
            }
        }
    }
    report("each kind of work has its module", &broken);
}

#[test]
fn the_core_is_plain_rust() {
    let mut broken = Vec::new();
    for file in sources().iter().filter(|file| CORE.contains(&file.module.as_str())) {
        let lines: Vec<_> = file.code().collect();
        for (at, (number, line)) in lines.iter().enumerate() {
            for (word, why) in NOT_IN_CORE {
                if line.contains(word) {
                    broken.push(format!("{}:{number}: no `{word}`: {why}", file.path));
                }
            }
            let next = lines.get(at + 1).map_or("", |(_, next)| next);
            let exempt = TEST_CODE.iter().any(|(path, _)| *path == file.path);
            if line.contains("cfg(test)") && !next.contains("mod ") && !exempt {
                broken.push(format!(
                    "{}:{number}: cfg(test) on something else than a module of tests: the core \
                     that is tested is the core that runs",
                    file.path
                ));
            }
        }
    }
    report("the core waits for nothing, shares nothing, and can be repeated", &broken);
}

#[test]
fn nothing_is_left_half_done() {
    let mut broken = Vec::new();
    for file in all_rust() {
        for (number, line) in file.code() {
            for word in LEFT_BEHIND.iter().filter(|word| line.contains(*word)) {
                // The list of them, above.
                if !line.contains("concat!") {
                    broken.push(format!("{}:{number}: `{word}...)`", file.path));
                }
            }
        }
    }
    report("what is not there yet is not called", &broken);
}

#[test]
fn every_file_says_what_it_is() {
    let broken: Vec<_> = all_rust()
        .into_iter()
        .filter(|file| !file.text.starts_with("//!"))
        .map(|file| format!("{}: begin it with `//!` and a sentence", file.path))
        .collect();
    report("a file begins with what it holds and which rule it keeps", &broken);
}

#[test]
fn files_and_functions_and_lines_are_short() {
    let mut broken = Vec::new();
    for file in all_rust() {
        let lines: Vec<&str> = file.text.lines().collect();
        let exempt = LONG_FILES.iter().any(|(path, _)| *path == file.path);
        if exempt != (lines.len() > FILE_LINES_MAX) {
            let what = if exempt { "needs no exemption any more" } else { "is too long" };
            broken.push(format!("{}: {} lines, {what}", file.path, lines.len()));
        }
        for (number, line) in lines.iter().enumerate() {
            let chars = line.chars().count();
            if chars > LINE_CHARS_MAX {
                broken.push(format!("{}:{}: {chars} characters", file.path, number + 1));
            }
        }
        for (name, number, length) in functions(&lines) {
            let exempt = LONG_FUNCTIONS.iter().any(|(path, f, _)| *path == file.path && *f == name);
            if exempt != (length > FUNCTION_LINES_MAX) {
                let what = if exempt { "needs no exemption any more" } else { "is too long" };
                broken.push(format!("{}:{number}: {name} has {length} lines, {what}", file.path));
            }
        }
    }
    let rule = format!(
        "at most {FILE_LINES_MAX} lines a file, {FUNCTION_LINES_MAX} a function, {LINE_CHARS_MAX} \
         characters a line: what is longer is more than one thought"
    );
    report(&rule, &broken);
}

#[test]
fn the_code_map_names_the_modules_there_are() {
    let map = read("docs/ARCHITECTURE.md");
    let mut named = BTreeSet::new();
    let mut broken = Vec::new();
    for section in map.split("\n### `").skip(1) {
        let name = section.split('`').next().unwrap_or_default();
        named.insert(name.to_string());
        let text = section.split("\n## ").next().unwrap_or_default();
        if name.ends_with('/') && !text.contains("**Architecture Invariant:**") {
            broken.push(format!("`{name}` has no **Architecture Invariant:** in the code map"));
        }
    }
    let there: BTreeSet<String> = fs::read_dir(root().join("src"))
        .expect("there is a src")
        .map(|entry| entry.expect("it can be listed"))
        .map(|entry| {
            let slash = if entry.path().is_dir() { "/" } else { "" };
            format!("src/{}{slash}", entry.file_name().display())
        })
        .collect();
    broken.extend(there.difference(&named).map(|name| format!("`{name}` is not in the code map")));
    broken.extend(named.difference(&there).map(|name| format!("`{name}` is in the map only")));
    report("docs/ARCHITECTURE.md has a section `### `src/...`` for each module", &broken);
}

#[test]
fn kernel_notes_are_whole() {
    let mut broken = Vec::new();
    let mut notes: Vec<_> =
        markdown().into_iter().filter(|p| p.starts_with("kernel-notes/")).collect();
    notes.sort();
    for (number, path) in (1..).zip(&notes) {
        if !path.starts_with(&format!("kernel-notes/{number:03}-")) {
            broken.push(format!("{path}: number {number:03} comes next"));
        }
        let text = read(path);
        let found: Vec<&str> = text.lines().filter(|line| line.starts_with("## ")).collect();
        if found != NOTE_HEADINGS {
            broken.push(format!("{path}: its headings are {found:?}, not {NOTE_HEADINGS:?}"));
        }
        let relied_on = text.split("## Relied on by").nth(1).unwrap_or_default();
        if !quoted(relied_on).any(|path| path.starts_with("src/")) {
            broken.push(format!("{path}: names no file that relies on it"));
        }
    }
    report("a kernel note says how to repeat it and who relies on it", &broken);
}

#[test]
fn documents_name_files_that_exist() {
    let mut broken = Vec::new();
    for path in markdown() {
        let text = read(&path);
        for (number, line) in (1..).zip(text.lines()) {
            for name in quoted(line).filter(|name| is_path(name)) {
                if !root().join(name).exists() {
                    broken.push(format!("{path}:{number}: there is no {name}"));
                }
            }
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = link.split('#').next().unwrap_or_default();
                let here = root().join(&path);
                let from = here.parent().expect("a file lies in a folder");
                if !file.is_empty() && !file.contains("://") && !from.join(file).exists() {
                    broken.push(format!("{path}:{number}: the link {link} leads nowhere"));
                }
            }
        }
    }
    report("what a document names is there", &broken);
}

#[test]
fn the_readme_has_every_option_of_serve() {
    let config = read("src/config/mod.rs");
    let raw = config.split("pub struct RawConfig {").nth(1).expect("RawConfig is there");
    let raw = raw.split("\n}").next().expect("it ends");
    let options: BTreeSet<String> = raw
        .lines()
        .filter_map(|line| line.trim().strip_prefix("pub "))
        .filter_map(|field| field.split(':').next())
        .map(|field| format!("`{}`", field.replace('_', "-")))
        .collect();
    assert!(options.len() > 10, "the options could be read");
    let readme = read("README.md");
    let named: BTreeSet<String> = readme
        .lines()
        .filter_map(|line| line.strip_prefix("| `--"))
        .filter_map(|line| line.split('`').next())
        .map(|name| format!("`{name}`"))
        .collect();
    let mut broken = Vec::new();
    broken.extend(options.difference(&named).map(|option| format!("{option} has no line")));
    broken.extend(named.difference(&options).map(|option| format!("{option} doesn't exist")));
    report("the table of options in README.md has one line for each", &broken);
}

/// One source file.
struct Source {
    /// From the root of the repository.
    path: String,
    /// The folder, or the file, right below `src`.
    module: String,
    /// Names in its module path.
    depth: usize,
    text: String,
}

impl Source {
    /// Lines with their numbers, without comments.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines()).filter_map(|(number, line)| {
            let code = line.split("//").next().unwrap_or_default();
            (!code.trim().is_empty()).then_some((number, code))
        })
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files below a folder whose names end so, in order.
fn files(folder: &str, ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("it can be listed").path()) {
            match path {
                path if path.is_dir() => folders.push(path),
                path if path.to_string_lossy().ends_with(ending) => found.push(relative(&path)),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    let path = path.strip_prefix(root()).expect("it lies below the root");
    path.to_str().expect("our names are plain").to_string()
}

fn sources() -> Vec<Source> {
    files("src", ".rs").into_iter().map(source).collect()
}

fn all_rust() -> Vec<Source> {
    let elsewhere = ["tests", "benches", "tools"].into_iter().flat_map(|dir| files(dir, ".rs"));
    sources().into_iter().chain(elsewhere.map(source)).collect()
}

fn source(path: String) -> Source {
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let depth = parts.len() - 1 - usize::from(parts.last() == Some(&"mod"));
    let module = parts[1].to_string();
    Source { text: read(&path), module, depth, path }
}

fn markdown() -> Vec<String> {
    let mut found = vec!["README.md".to_string()];
    found.extend(files("docs", ".md"));
    found.extend(files("kernel-notes", ".md"));
    found
}

/// The first name behind each `prefix` in a line.
fn paths_behind<'a>(line: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    line.split(prefix)
        .skip(1)
        .map(|rest| {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            &rest[..end]
        })
        .filter(|name| !name.is_empty())
}

/// The most `super`s in a row.
fn supers(line: &str) -> usize {
    (1..).take_while(|count| line.contains(&"super::".repeat(*count))).count()
}

/// Whether a line has a word that isn't the end of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_')
    })
}

/// Functions with the line they begin in and how many lines they have.
fn functions<'a>(lines: &[&'a str]) -> Vec<(&'a str, usize, usize)> {
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((before, rest)) = line.split_once("fn ") else { continue };
        let words = before.split_whitespace().all(|word| {
            matches!(word, "const" | "async" | "unsafe" | "pub" | "extern")
                || word.starts_with("pub(")
        });
        let end = rest.find(['(', '<']);
        let (true, Some(end)) = (words, end) else { continue };
        let body = lines[at..].iter().find(|line| line.ends_with(['{', '}', ';']));
        if body.is_none_or(|line| line.ends_with(';')) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let close = format!("{}}}", " ".repeat(indent));
        let length = lines[at..].iter().position(|line| *line == close).map_or(1, |n| n + 1);
        found.push((&rest[..end], at + 1, length));
    }
    found
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn is_path(name: &str) -> bool {
    let folders = ["src/", "tests/", "docs/", "kernel-notes/", "tools/", "benches/", ".ci/"];
    folders.iter().any(|folder| name.starts_with(folder))
        && !name.contains([' ', '*', '<', '{', ','])
}

fn report(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "\n\nThe rule: {rule}.\n\n  {}\n", broken.join("\n  "));
}
