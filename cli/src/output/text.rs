//! Wrapping of prose for people. Pure text.

/// Width of wrapped lines.
pub const WIDTH: usize = 78;

/// Cost of a line that is too long, against the square of the space that a short one leaves.
const TOO_LONG: u64 = 100_000;

/// Wraps words at [`WIDTH`] less `pad` and indents every line by `pad` spaces. The breaks are those of least cost,
/// as the Go package `kr/text` chooses them, so that our texts break where the original's do.
pub fn wrap(text: &str, pad: usize) -> String {
    let words: Vec<&str> = text.trim().split(['\n', ' ']).collect();
    let indent = " ".repeat(pad);
    let lines = balanced(&words, WIDTH - pad);
    lines
        .iter()
        .map(|line| format!("{indent}{line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn balanced(words: &[&str], limit: usize) -> Vec<String> {
    let count = words.len();
    // For the words from i on: the least cost, and where the second line begins.
    let mut best: Vec<(u64, usize)> = vec![(0, count); count + 1];
    for i in (0..count).rev() {
        let mut choice = (u64::MAX, count);
        let mut length = 0;
        for j in i + 1..=count {
            length += words.get(j - 1).map_or(0, |w| w.len()) + usize::from(j > i + 1);
            if j == count && (length <= limit || j == i + 1) {
                choice = (0, count);
            } else if j < count {
                let gap = limit.abs_diff(length) as u64;
                let penalty = if length > limit { TOO_LONG } else { 0 };
                let cost = (gap * gap + penalty).saturating_add(best.get(j).map_or(0, |b| b.0));
                if cost < choice.0 {
                    choice = (cost, j);
                }
            }
            // Lines this long never cost least; without the bound a long text would take quadratic time.
            if length > limit * 4 {
                break;
            }
        }
        if let Some(slot) = best.get_mut(i) {
            *slot = choice;
        }
    }
    let mut lines = Vec::new();
    let mut at = 0;
    while at < count {
        let next = best.get(at).map_or(count, |b| b.1).max(at + 1);
        lines.push(words.get(at..next).unwrap_or_default().join(" "));
        at = next;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balances_lines() {
        let text = "* Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API \
                    endpoints to use. If using the OpenBao CLI, use 'bao kv delete' for this operation.";
        assert_eq!(
            wrap(text, 2),
            "  * Invalid path for a versioned K/V secrets engine. See the API docs for\n  the appropriate API \
             endpoints to use. If using the OpenBao CLI, use 'bao kv\n  delete' for this operation."
        );
    }
}
