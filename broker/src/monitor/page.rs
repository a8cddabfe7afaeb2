//! The status page: one file, which needs nothing from anywhere else.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::HeaderValue;
use ring::digest::{SHA256, digest};

/// The page.
pub(super) const HTML: &str = include_str!("page.html");

/// What a browser may do for the page: its own style and script, known by their hashes, and requests to where it came from.
pub(super) fn policy() -> HeaderValue {
    static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
        let policy = format!(
            "default-src 'none'; style-src '{}'; script-src '{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            hash("<style>", "</style>"),
            hash("<script>", "</script>")
        );
        HeaderValue::from_str(&policy).expect("a policy of visible characters")
    });
    POLICY.clone()
}

/// The hash of what stands between two marks of the page, as a policy names it.
fn hash(begin: &str, end: &str) -> String {
    let (_, rest) = HTML.split_once(begin).expect("the page has it");
    let (inside, _) = rest.split_once(end).expect("the page has it");
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, inside.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_asks_nobody_else_for_anything() {
        for foreign in ["http://", "https://", "//cdn", "@import", "url(", "src=", " on", "style="] {
            let found: Vec<_> =
                HTML.match_indices(foreign).map(|(at, _)| &HTML[at..(at + 60).min(HTML.len())]).collect();
            let allowed =
                |text: &&str| text.starts_with("http://www.w3.org/2000/svg") || !is_attribute(text, foreign);
            assert!(found.iter().all(allowed), "{foreign}: {found:?}");
        }
        assert_eq!(HTML.matches("<script").count(), 1);
        assert_eq!(HTML.matches("<style").count(), 1);
        assert!(policy().to_str().unwrap().contains("script-src 'sha256-"));
    }

    /// ` on` is an attribute only where a name and `=` follow.
    fn is_attribute(text: &str, mark: &str) -> bool {
        if mark != " on" {
            return true;
        }
        let name = text[mark.len()..].split('=').next().unwrap_or_default();
        text[mark.len()..].contains('=') && !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase())
    }
}
