//! Equations in HTML, in the two forms that survive any Markdown renderer unchanged.
//!
//! | in Markdown | in HTML |
//! |---|---|
//! | a dollar sign, a code span, a dollar sign | `$<code>TEX</code>$` |
//! | a fenced block of the language `math` | `<pre class="language-math"><code>TEX</code></pre>` (rustdoc), `<pre><code class="language-math">TEX</code></pre>` (mdBook) |

use crate::katex::Engine;

/// An equation that KaTeX refuses.
#[derive(Debug)]
pub(crate) struct Refused {
    /// The equation.
    pub(crate) tex: String,
    /// Why.
    pub(crate) message: String,
}

/// Where the next equation stands: its whole text, and its formula.
struct Found<'t> {
    start: usize,
    end: usize,
    tex: &'t str,
    display: bool,
}

/// How display equations open, as rustdoc and as mdBook write them.
const DISPLAY: &[&str] = &[
    "<pre class=\"language-math\"><code>",
    "<pre><code class=\"language-math\">",
];

/// The page with every equation rendered, and how many there were.
///
/// # Errors
/// The first equation that KaTeX refuses.
pub(crate) fn render(page: &str, engine: &Engine) -> Result<(String, usize), Refused> {
    let mut rendered = String::with_capacity(page.len());
    let mut rest = page;
    let mut count = 0;
    while let Some(found) = next(rest) {
        let tex = unescape(found.tex);
        let html = engine
            .render(tex.trim(), found.display)
            .map_err(|message| Refused { tex, message })?;
        rendered.push_str(&rest[..found.start]);
        rendered.push_str(&html);
        rest = &rest[found.end..];
        count += 1;
    }
    rendered.push_str(rest);
    Ok((rendered, count))
}

fn next(text: &str) -> Option<Found<'_>> {
    let displays = DISPLAY
        .iter()
        .filter_map(|open| delimited(text, 0, open, "</code></pre>", true));
    displays.chain(inline(text)).min_by_key(|found| found.start)
}

/// The first code span between dollar signs.
fn inline(text: &str) -> Option<Found<'_>> {
    const OPEN: &str = "$<code>";
    let mut from = 0;
    loop {
        let found = delimited(text, from, OPEN, "</code>", false)?;
        if text[found.end..].starts_with('$') {
            let end = found.end + 1;
            return Some(Found { end, ..found });
        }
        from = found.start + OPEN.len();
    }
}

fn delimited<'t>(
    text: &'t str,
    from: usize,
    open: &str,
    close: &str,
    display: bool,
) -> Option<Found<'t>> {
    let start = from + text[from..].find(open)?;
    let inside = start + open.len();
    let length = text[inside..].find(close)?;
    Some(Found {
        start,
        end: inside + length + close.len(),
        tex: &text[inside..inside + length],
        display,
    })
}

fn unescape(html: &str) -> String {
    let pairs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&#39;", "'"),
        ("&#x27;", "'"),
        ("&amp;", "&"),
    ];
    pairs
        .iter()
        .fold(html.to_owned(), |text, (escaped, plain)| {
            text.replace(escaped, plain)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn engine() -> Engine {
        Engine::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../katex/katex.min.js")).unwrap()
    }

    #[test]
    fn every_form_is_rendered_and_the_rest_is_kept() {
        let page = "<p>a $<code>x_i &lt; y</code>$ b <code>c</code> $<code>no</code> d</p>\
                    <pre class=\"language-math\"><code>L L'\n</code></pre>\
                    <pre><code class=\"language-math\">S = C\n</code></pre> e";
        let (html, count) = render(page, &engine()).unwrap();
        assert_eq!(count, 3);
        assert_eq!(html.matches("class=\"katex\"").count(), 3);
        assert_eq!(html.matches("class=\"katex-display\"").count(), 2);
        assert!(html.contains("x_i &lt; y</annotation>"), "{html}");
        assert!(html.starts_with("<p>a <span"), "{html}");
        assert!(
            html.contains(" b <code>c</code> $<code>no</code> d</p>"),
            "{html}"
        );
        assert!(html.ends_with(" e"), "{html}");
        assert!(!html.contains("language-math"), "{html}");
    }

    #[test]
    fn a_malformed_equation_is_refused_with_its_text() {
        for tex in ["\\frac{1", "\\nosuchcommand x", "\u{e9}", "x \\\\ y"] {
            let page = format!("<pre><code class=\"language-math\">{tex}</code></pre>");
            assert_eq!(render(&page, &engine()).unwrap_err().tex, tex);
        }
    }

    #[test]
    fn a_page_without_equations_is_kept() {
        let page = "<p>$5 and <code>$x</code></p>";
        assert_eq!(render(page, &engine()).unwrap(), (page.to_owned(), 0));
    }
}
