//! The one writer: data to standard output, talk to standard error. Colours only for people. Knows no command.

use std::cell::RefCell;
use std::io::{ErrorKind, Write};
use std::rc::Rc;

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Columns for people.
    Table,
    /// JSON, indented.
    Json,
    /// YAML.
    Yaml,
    /// Prose for the few results that have it.
    Pretty,
    /// The server's bytes.
    Raw,
}

impl Format {
    /// Reads a format's name.
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name.to_lowercase().as_str() {
            "table" => Self::Table,
            "json" => Self::Json,
            "yaml" | "yml" => Self::Yaml,
            "pretty" => Self::Pretty,
            "raw" => Self::Raw,
            _ => return None,
        })
    }
}

/// Where a command prints.
pub struct Ui {
    out: Box<dyn Write>,
    err: Box<dyn Write>,
    /// How results are printed.
    pub format: Format,
    /// Whether lists show more than names.
    pub detailed: bool,
    color: bool,
    out_is_terminal: bool,
    err_is_terminal: bool,
    broken: Option<ErrorKind>,
}

impl Ui {
    /// A writer over two streams. `terminals` says which of them are terminals.
    pub fn new(out: Box<dyn Write>, err: Box<dyn Write>, terminals: (bool, bool), color: bool) -> Self {
        Self {
            out,
            err,
            format: Format::Table,
            detailed: false,
            color: color && terminals.0 && terminals.1,
            out_is_terminal: color && terminals.0,
            err_is_terminal: terminals.1,
            broken: None,
        }
    }

    /// Whether results are printed for people.
    pub fn is_table(&self) -> bool {
        self.format == Format::Table
    }

    /// Prints a line of data.
    pub fn line(&mut self, text: &str) {
        self.bytes(format!("{text}\n").as_bytes());
    }

    /// Prints data as it is.
    pub fn bytes(&mut self, data: &[u8]) {
        if let Err(error) = self.out.write_all(data).and_then(|()| self.out.flush()) {
            self.broken = Some(error.kind());
        }
    }

    /// Prints one value: with a line end on a terminal, bare in a pipe, so that `$(...)` and files get it as it is.
    pub fn value(&mut self, text: &str) {
        if self.out_is_terminal {
            self.line(text)
        } else {
            self.bytes(text.as_bytes())
        }
    }

    /// Says what went wrong.
    pub fn error(&mut self, text: &str) {
        self.talk(text, "\u{1b}[91m");
    }

    /// Says what the user should know.
    pub fn warn(&mut self, text: &str) {
        self.talk(text, "\u{1b}[93m");
    }

    /// Asks on the talk stream, without a line end.
    pub fn ask(&mut self, text: &str) {
        let _ = self
            .err
            .write_all(text.as_bytes())
            .and_then(|()| self.err.flush());
    }

    /// Whether a person sees what is shown on the way.
    pub fn is_watched(&self) -> bool {
        self.err_is_terminal
    }

    /// Shows how far a long command is, in place of what it showed before; nothing where nobody watches.
    pub fn status(&mut self, text: &str) {
        if self.err_is_terminal {
            self.ask(&format!("\r\u{1b}[K{text}"));
        }
    }

    fn talk(&mut self, text: &str, color: &str) {
        let line = if self.color {
            format!("{color}{text}\u{1b}[0m\n")
        } else {
            format!("{text}\n")
        };
        // If standard error is gone there is nobody left to tell.
        let _ = self.err.write_all(line.as_bytes());
    }

    /// Holds back everything said from now on, until [`Ui::unmute`].
    pub fn mute(&mut self) -> Muted {
        let said = Rc::new(RefCell::new(Vec::new()));
        let err = std::mem::replace(&mut self.err, Box::new(Kept(Rc::clone(&said))));
        Muted { err, said }
    }

    /// Talks again; says what was held back if `say`.
    pub fn unmute(&mut self, muted: Muted, say: bool) {
        self.err = muted.err;
        if say {
            let _ = self.err.write_all(&muted.said.borrow());
        }
    }

    /// Whether data could not be written.
    pub fn is_broken(&self) -> bool {
        self.broken.is_some()
    }

    /// Whether that is because whoever read it wants no more.
    pub fn is_closed(&self) -> bool {
        self.broken == Some(ErrorKind::BrokenPipe)
    }
}

/// The talk stream while it is held back.
pub struct Muted {
    err: Box<dyn Write>,
    said: Rc<RefCell<Vec<u8>>>,
}

struct Kept(Rc<RefCell<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
