//! Columns with Vault's layout: cells split at a delimiter, trimmed, padded, four spaces between. Pure text.

/// Delimiter for cells with secrets in them; it hardly occurs in one.
pub const HOPE: &str = "♨";

const GLUE: &str = "    ";
const EMPTY: &str = "n/a";

/// Lines under a heading: the first line holds the column names and is underlined with dashes.
pub fn with_header(lines: &[String], delimiter: &str) -> String {
    let Some((header, rows)) = lines.split_first() else {
        return String::new();
    };
    // The dashes count bytes, as the original's do.
    let underline: Vec<String> = header
        .split(delimiter)
        .map(|h| "-".repeat(h.trim().len()))
        .collect();
    let mut all = vec![header.clone(), underline.join(delimiter)];
    all.extend_from_slice(rows);
    columns(&all, delimiter)
}

/// Lines as columns without a heading.
pub fn columns(lines: &[String], delimiter: &str) -> String {
    let rows: Vec<Vec<&str>> = lines
        .iter()
        .map(|line| line.split(delimiter).map(cell).collect())
        .collect();
    let mut widths: Vec<usize> = Vec::new();
    for row in &rows {
        for (i, text) in row.iter().enumerate() {
            let width = text.chars().count();
            match widths.get_mut(i) {
                Some(known) => *known = width.max(*known),
                None => widths.push(width),
            }
        }
    }
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        let mut line = String::new();
        for (i, text) in row.iter().enumerate() {
            line.push_str(text);
            if i + 1 < row.len() {
                let width = widths.get(i).copied().unwrap_or_default();
                line.extend(std::iter::repeat_n(' ', width - text.chars().count()));
                line.push_str(GLUE);
            }
        }
        out.push(line);
    }
    out.join("\n")
}

fn cell(text: &str) -> &str {
    let text = text.trim();
    if text.is_empty() { EMPTY } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lays_out_as_vault() {
        let lines = [
            "Key|Value".to_owned(),
            "a | 1".to_owned(),
            "long_name |".to_owned(),
        ];
        assert_eq!(
            with_header(&lines, "|"),
            "Key          Value\n---          -----\na            1\nlong_name    n/a"
        );
    }
}
