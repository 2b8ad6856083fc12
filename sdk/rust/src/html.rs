//! Pages, escaped by default.
//!
//! Invariant: text gets into a page only through [`Html::text`] and its like,
//! which escape; what is written by [`Html::raw`] is `'static`, so it was written
//! by the developer and not by a visitor.

use std::fmt::{self, Display, Write};

/// A page being written.
#[derive(Clone, Debug, Default)]
pub struct Html(String);

impl Html {
    /// An empty page.
    pub fn new() -> Html {
        Html::default()
    }

    /// Markup, as it stands.
    pub fn raw(&mut self, markup: &'static str) -> &mut Html {
        self.0.push_str(markup);
        self
    }

    /// Text, escaped; good inside elements and inside quoted attributes.
    pub fn text(&mut self, text: impl Display) -> &mut Html {
        // Writing into a String cannot fail.
        write!(Escaper(&mut self.0), "{text}").ok();
        self
    }

    /// `<tag>text</tag>`, the text escaped.
    pub fn element(&mut self, tag: &'static str, text: impl Display) -> &mut Html {
        self.raw("<").raw(tag).raw(">").text(text).raw("</").raw(tag).raw(">")
    }

    /// ` name="value"`, the value escaped.
    pub fn attribute(&mut self, name: &'static str, value: impl Display) -> &mut Html {
        self.raw(" ").raw(name).raw("=\"").text(value).raw("\"")
    }

    /// Another page's content.
    pub fn append(&mut self, other: &Html) -> &mut Html {
        self.0.push_str(&other.0);
        self
    }

    /// The page.
    pub fn into_string(self) -> String {
        self.0
    }

    /// The page so far.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

struct Escaper<'a>(&'a mut String);

impl Write for Escaper<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

/// A text that shows itself escaped, for `format!`.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<T>(pub T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0.to_string()))
    }
}

/// A text, escaped.
pub fn escape(text: &str) -> String {
    let mut page = Html::new();
    page.text(text);
    page.into_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        let mut page = Html::new();
        page.raw("<a").attribute("href", "\"><script>").raw(">").text("a & 'b'").raw("</a>");
        assert_eq!(
            page.into_string(),
            "<a href=\"&quot;&gt;&lt;script&gt;\">a &amp; &#39;b&#39;</a>"
        );
        assert_eq!(format!("{}", Escaped("<")), "&lt;");
    }
}
