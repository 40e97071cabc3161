//! Follows every relative link of a site: the file is there, and the place in it.

use crate::error::Error;
use crate::pages;
use std::path::Path;

/// Checks all pages under `site`; returns how many links there were.
///
/// # Errors
/// [`Error::Links`] after printing those that lead nowhere.
pub(crate) fn check(site: &Path) -> Result<usize, Error> {
    let mut checked = 0;
    let mut broken = 0;
    for page in pages::html(site)? {
        // mdBook's page for missing pages is served from anywhere: its links start at the site's root.
        if page.file_name().is_some_and(|name| name == "404.html") {
            continue;
        }
        let text = pages::read(&page)?;
        for link in links(&text) {
            if link.contains(':') || link.starts_with("//") {
                continue;
            }
            checked += 1;
            if let Err(why) = follow(&page, &text, link) {
                eprintln!("{}: {link}: {why}", page.display());
                broken += 1;
            }
        }
    }
    match broken {
        0 if checked == 0 => Err(Error::Nothing {
            site: site.to_path_buf(),
            what: "link",
        }),
        0 => Ok(checked),
        count => Err(Error::Links(count)),
    }
}

/// The values of all `href` and `src` attributes.
fn links(text: &str) -> impl Iterator<Item = &str> {
    [" href=\"", " src=\""]
        .into_iter()
        .flat_map(move |attribute| {
            text.match_indices(attribute).filter_map(move |(at, _)| {
                let value = &text[at + attribute.len()..];
                value.find('"').map(|end| &value[..end])
            })
        })
}

fn follow(page: &Path, text: &str, link: &str) -> Result<(), &'static str> {
    let (path, fragment) = link.split_once('#').map_or((link, ""), |(p, f)| (p, f));
    let target = page.parent().unwrap_or(page).join(path);
    if !path.is_empty() && !target.is_file() {
        return Err("no such file");
    }
    if fragment.is_empty() {
        return Ok(());
    }
    let other;
    let text = if path.is_empty() {
        text
    } else {
        other = pages::read(&target).map_err(|_| "not readable")?;
        &other
    };
    let id = format!("id=\"{fragment}\"");
    if text.contains(&id) {
        Ok(())
    } else {
        Err("no such place in the page")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_and_places_are_followed() {
        let site =
            std::env::temp_dir().join(format!("broadhead-docs-links-{}", std::process::id()));
        fs::create_dir_all(&site).unwrap();
        let write = |name: &str, text: &str| fs::write(site.join(name), text).unwrap();
        write("b.html", "<h1 id=\"there\">");
        let good = "<a id=\"here\"><a href=\"#here\"><a href=\"b.html#there\"><a href=\"https://example.org\">";
        write("a.html", good);
        assert_eq!(check(&site).unwrap(), 2);
        for link in ["c.html", "#nowhere", "b.html#nowhere"] {
            write("a.html", &format!("{good}<a class=\"x\" href=\"{link}\">"));
            assert!(matches!(check(&site), Err(Error::Links(1))), "{link}");
        }
        fs::remove_dir_all(&site).unwrap();
    }
}
