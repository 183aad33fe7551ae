//! The `conclave` command. This file joins the process's streams and variables to the application.

mod app;
mod base64;
mod cluster;
mod commands;
mod complete;
mod entropy;
mod env;
mod exit;
mod flags;
mod goval;
mod help;
mod kvdata;
mod mfa;
mod output;
mod policyfmt;
mod policylint;
mod session;
mod token_helper;
mod ui;

use std::io::IsTerminal as _;
use std::process::ExitCode;

/// Tokens, shares and secrets pass through buffers of many libraries: whatever is freed is wiped.
#[global_allocator]
static MEMORY: conclave_mem::Wiping = conclave_mem::Wiping::new();

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|w| w.to_string_lossy().into_owned())
        .collect();
    let env = env::Env::of_process();
    let candidates = complete::candidates(&env);
    let terminals = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
    let color = env.plain("NO_COLOR").is_none()
        && env.get("CLI_NO_COLOR").is_none()
        && env.plain("TERM").is_none_or(|term| term != "dumb");
    let mut ui = ui::Ui::new(
        Box::new(std::io::stdout()),
        Box::new(std::io::stderr()),
        terminals,
        color,
    );
    if let Some(candidates) = candidates {
        candidates.iter().for_each(|candidate| ui.line(candidate));
        return ExitCode::SUCCESS;
    }
    let stdin_is_terminal = std::io::stdin().is_terminal();
    let mut cx = session::Cx::new(ui, env, Box::new(std::io::stdin()), stdin_is_terminal);
    ExitCode::from(app::run(&mut cx, &words).0)
}
