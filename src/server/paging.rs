//! Long lists, page by page.
//!
//! The address of the next page is in `Link: <…>; rel="next"` (RFC 8288): every kind of list can
//! say it without a change of its body, and clients that follow it need to know nothing else. The
//! cursor names what was seen last, so that nothing is left out or comes twice when the list
//! changes meanwhile.

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use serde::Deserialize;

use super::problem::Problem;

/// The most that is answered at once when a page is asked for.
pub(super) const PAGE_MAX: usize = 1000;

/// The part of a list that is asked for; all of it when nothing is said.
#[derive(Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Page {
    /// How many.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) limit: Option<usize>,
    /// What was seen last; `Link` of the page before says it.
    #[serde(rename = "continue")]
    pub(super) after: Option<String>,
}

impl Page {
    /// The page of a list, with the cursor of the next one.
    pub(super) fn cut<T>(
        &self,
        mut all: Vec<T>,
        key: impl Fn(&T) -> String,
    ) -> Result<(Vec<T>, Option<String>), Problem> {
        if let Some(after) = &self.after {
            all.sort_by_cached_key(&key);
            all.retain(|item| *after < key(item));
        } else if self.limit.is_some() {
            all.sort_by_cached_key(&key);
        }
        let Some(limit) = self.limit else { return Ok((all, None)) };
        if !(1..=PAGE_MAX).contains(&limit) {
            return Err(Problem::bad_request(format!("`limit` is a number from 1 to {PAGE_MAX}")));
        }
        let has_more = limit < all.len();
        all.truncate(limit);
        let next = all.last().map(&key).filter(|_| has_more);
        Ok((all, next))
    }
}

/// The header that says where the next page is.
pub(super) fn link(uri: &Uri, next: Option<&str>) -> HeaderMap {
    link_with(uri, "continue", next)
}

/// The same with another name of the cursor.
pub(super) fn link_with(uri: &Uri, name: &str, next: Option<&str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let Some(next) = next else { return headers };
    let others = uri.query().unwrap_or("").split('&');
    let is_other = |pair: &&str| !pair.is_empty() && pair.split('=').next() != Some(name);
    let mut pairs: Vec<_> = others.filter(is_other).map(ToOwned::to_owned).collect();
    pairs.push(format!("{name}={}", escaped(next)));
    let target = format!("<{}?{}>; rel=\"next\"", uri.path(), pairs.join("&"));
    if let Ok(value) = HeaderValue::try_from(target) {
        headers.insert(header::LINK, value);
    }
    headers
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_together_are_the_list_whatever_comes_and_goes_between_them() {
        let mut all: Vec<_> = (10..30).map(|number| number.to_string()).collect();
        let (mut page, mut seen) = (Page { limit: Some(7), after: None }, Vec::new());
        loop {
            let (items, next) = page.cut(all.clone(), Clone::clone).unwrap();
            seen.extend(items);
            all.retain(|item| item != "12");
            match next {
                Some(next) => page.after = Some(next),
                None => break,
            }
        }
        assert_eq!(seen, (10..30).map(|number| number.to_string()).collect::<Vec<_>>());
        for limit in [0, PAGE_MAX + 1] {
            let page = Page { limit: Some(limit), after: None };
            assert!(page.cut(vec![String::new()], Clone::clone).is_err());
        }
    }

    #[test]
    fn the_next_page_is_named_by_its_address() {
        let uri: Uri = "/api/v1/apps?limit=2&continue=a&phase=Running".parse().unwrap();
        let link = link(&uri, Some("b/c"));
        let expected = "</api/v1/apps?limit=2&phase=Running&continue=b%2Fc>; rel=\"next\"";
        assert_eq!(link[header::LINK], expected);
        assert!(super::link(&uri, None).is_empty());
    }
}
