//! Checks of the source tree that neither rustc nor clippy make, and files of the tree that are made. Knows the tree as text
//! and as Cargo's graph, nothing of what the crates do.

mod dashboard;
mod tidy;

use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy|dashboard\n\n  tidy        check crate edges, file shape and house rules of every file in the tree\n  dashboard   write the Grafana dashboard\n";

fn main() -> ExitCode {
    let task: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout().lock();
    match task.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => report(&mut out, tidy::run()),
        ["dashboard"] => write(&mut out, dashboard::PATH, &dashboard::text()),
        _ => {
            // A closed stdout leaves nobody to tell; the exit code still says that nothing was checked.
            let _ = out.write_all(USAGE.as_bytes());
            ExitCode::from(2)
        }
    }
}

/// Writes a file of the tree that holds the current directory.
fn write(out: &mut dyn Write, path: &str, text: &str) -> ExitCode {
    let written = std::path::Path::new(path)
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(path, text));
    let (said, code) = match written {
        Ok(()) => (format!("wrote {path}\n"), ExitCode::SUCCESS),
        Err(error) => (format!("{path}: {error}\n"), ExitCode::FAILURE),
    };
    match out.write_all(said.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Prints what was found, one line each, and turns it into an exit code: 0 clean, 1 findings, 2 could not look.
fn report(out: &mut dyn Write, result: Result<tidy::Report, tidy::Error>) -> ExitCode {
    let (text, code) = match result {
        Ok(report) if report.findings.is_empty() => (format!("tidy: {report}\n"), ExitCode::SUCCESS),
        Ok(report) => {
            let lines: String = report
                .findings
                .iter()
                .map(|finding| format!("{finding}\n"))
                .collect();
            (format!("{lines}tidy: {report}\n"), ExitCode::FAILURE)
        }
        Err(error) => (format!("tidy: {error}\n"), ExitCode::from(2)),
    };
    match out.write_all(text.as_bytes()) {
        Ok(()) => code,
        Err(_) => ExitCode::from(2),
    }
}
