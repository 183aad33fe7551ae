//! Wrapping of prose for people. Pure text.

/// Width of wrapped lines.
pub const WIDTH: usize = 78;

/// Wraps words at [`WIDTH`] less `pad`, and indents every line by `pad` spaces. Lines are balanced as `kr/text`
/// does it: the sum of squared gaps is least.
pub fn wrap(text: &str, pad: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let width = WIDTH - pad;
    let lines = balanced(&words, width);
    let indent = " ".repeat(pad);
    if lines.is_empty() {
        return indent;
    }
    lines.iter().map(|line| format!("{indent}{line}")).collect::<Vec<_>>().join("\n")
}

/// Minimal raggedness (Knuth and Plass without hyphens), the last line free.
fn balanced(words: &[&str], width: usize) -> Vec<String> {
    let lengths: Vec<usize> = words.iter().map(|w| w.chars().count()).collect();
    let count = words.len();
    // best[i]: cost of the words from i on, and where the next line begins.
    let mut best: Vec<(u64, usize)> = vec![(0, count); count + 1];
    for i in (0..count).rev() {
        let mut choice = (u64::MAX, i + 1);
        let mut length = 0;
        for j in i..count {
            length += lengths.get(j).copied().unwrap_or_default() + usize::from(j > i);
            let later = best.get(j + 1).map_or(0, |b| b.0);
            let cost = if length > width {
                // A word longer than the line stands alone.
                if j > i {
                    break;
                }
                100_000_u64.saturating_add(later)
            } else if j + 1 == count {
                0
            } else {
                let gap = (width - length) as u64;
                (gap * gap).saturating_add(later)
            };
            if cost <= choice.0 {
                choice = (cost, j + 1);
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
