//! What a report shows, before it is text or HTML: headings, fields, tables, in order.

/// A document.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) title: String,
    pub(super) parts: Vec<Part>,
}

/// What it is made of.
#[derive(Debug)]
pub(super) enum Part {
    /// Begins a section.
    Heading(String),
    /// Begins a part of one.
    Subheading(String),
    Text(String),
    /// Something that a reader must not miss.
    Warning(String),
    /// Names and values; empty values are not shown.
    Fields(Vec<(&'static str, String)>),
    Table(&'static [&'static str], Vec<Vec<String>>),
}

impl Page {
    pub(super) fn heading(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Heading(text.into()));
    }

    pub(super) fn subheading(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Subheading(text.into()));
    }

    pub(super) fn text(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Text(text.into()));
    }

    pub(super) fn warning(&mut self, text: impl Into<String>) {
        self.parts.push(Part::Warning(text.into()));
    }

    pub(super) fn fields(&mut self, fields: impl IntoIterator<Item = (&'static str, String)>) {
        let fields = fields.into_iter().filter(|(_, value)| !value.is_empty());
        self.parts.push(Part::Fields(fields.collect()));
    }

    /// A table, or a word where there is nothing to list.
    pub(super) fn table<const N: usize>(
        &mut self,
        header: &'static [&'static str; N],
        rows: impl IntoIterator<Item = [String; N]>,
        none: &str,
    ) {
        let rows: Vec<_> = rows.into_iter().map(Vec::from).collect();
        if rows.is_empty() {
            if !none.is_empty() {
                self.text(none);
            }
            return;
        }
        self.parts.push(Part::Table(header, rows));
    }
}
