//! What the parser finds wrong with a value, in words that are the configuration's and not a programmer's.

/// What the parser expects, and how that is said.
const EXPECTED: [(&str, &str); 7] = [
    ("expected usize", "expected a whole number, 0 or more"),
    ("expected u64", "expected a whole number, 0 or more"),
    ("expected u32", "expected a whole number from 0 to 4294967295"),
    ("expected u16", "expected a whole number from 0 to 65535"),
    ("expected a sequence", "expected a list, such as [\"…\"]"),
    ("expected a boolean", "expected true or false"),
    ("expected a string", "expected text in quotes"),
];

/// `message`, as the parser has it, for whoever wrote the value.
pub(super) fn in_words(message: &str) -> String {
    if message.contains("socket address syntax") {
        return "it is not an address such as 127.0.0.1:7420".to_owned();
    }
    if message.ends_with("as i128, expected any valid TOML value") {
        return "the number is far too large".to_owned();
    }
    for (expected, words) in EXPECTED {
        if let Some(found) = message.strip_suffix(expected) {
            return format!(
                "{}{words}",
                found.replacen("invalid type: ", "it is ", 1).replacen("invalid value: ", "it is ", 1)
            );
        }
    }
    message.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_has_to_know_the_names_of_types() {
        for (message, words) in [
            (
                "invalid type: string \"x\", expected usize",
                "it is string \"x\", expected a whole number, 0 or more",
            ),
            (
                "invalid value: integer `70000`, expected u16",
                "it is integer `70000`, expected a whole number from 0 to 65535",
            ),
            (
                "invalid type: integer `5`, expected a sequence",
                "it is integer `5`, expected a list, such as [\"…\"]",
            ),
            (
                "invalid type: integer `9` as i128, expected any valid TOML value",
                "the number is far too large",
            ),
            ("invalid socket address syntax", "it is not an address such as 127.0.0.1:7420"),
            ("unknown variant `a`, expected `b`", "unknown variant `a`, expected `b`"),
        ] {
            assert_eq!(in_words(message), words);
        }
    }
}
