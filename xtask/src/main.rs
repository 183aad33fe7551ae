//! Checks of the source tree that neither rustc nor clippy make, and files of the tree that are made. Knows the tree as text
//! and as Cargo's graph, nothing of what the crates do.

mod dashboard;
mod rules;
mod tidy;

use std::io::Write;
use std::process::ExitCode;

const USAGE: &str = "usage: cargo xtask tidy|observability\n\n  tidy           check crate edges, file shape and house rules of every file in the tree\n  observability  write the Grafana dashboard, and rules as a resource of Kubernetes and for the chart\n";

fn main() -> ExitCode {
    let task: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout().lock();
    match task.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["tidy"] => report(&mut out, tidy::run()),
        ["observability"] => {
            let (text, code) = match observability() {
                Ok(()) => (
                    format!(
                        "wrote {}, {}, {}\n",
                        dashboard::PATH,
                        rules::PATH,
                        rules::CHART_PATH
                    ),
                    ExitCode::SUCCESS,
                ),
                Err(error) => (format!("{error}\n"), ExitCode::FAILURE),
            };
            // The exit code says it too.
            let _ = out.write_all(text.as_bytes());
            code
        }
        _ => {
            // A closed stdout leaves nobody to tell; the exit code still says that nothing was checked.
            let _ = out.write_all(USAGE.as_bytes());
            ExitCode::from(2)
        }
    }
}

/// Writes the files that are made, in the tree whose root is the current directory.
fn observability() -> Result<(), String> {
    let told = |path: &str| {
        let path = path.to_owned();
        move |error: std::io::Error| format!("{path}: {error}")
    };
    let read = |path: &str| std::fs::read_to_string(path).map_err(told(path));
    let sources = rules::SOURCES
        .iter()
        .map(|path| read(path))
        .collect::<Result<Vec<_>, _>>()?;
    let without = |number| format!("file {number} of the rules has no groups");
    for (path, text) in [
        (dashboard::PATH, dashboard::text()),
        (rules::PATH, rules::text(&sources).map_err(without)?),
        (rules::CHART_PATH, rules::of_chart(&sources).map_err(without)?),
    ] {
        std::fs::write(path, text).map_err(told(path))?;
    }
    Ok(())
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
