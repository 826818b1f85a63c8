//! A browser's part in a form, without the browser: it reads a page, keeps its hidden fields and sends what a person entered.

use super::client::full;
use super::pki::Leaf;
use super::{Answer, World};
use std::collections::BTreeMap;

/// What a form says.
pub(crate) type Fields = BTreeMap<String, String>;

impl World {
    /// The page of a request as somebody sees it.
    pub(crate) async fn page(&self, who: &Leaf, id: &str) -> Answer {
        self.api_as(who).get(&format!("/approve/{id}")).await
    }

    /// Sends a form as a browser does from the page itself, with other headers where `headers` names them; `-` leaves one out.
    pub(crate) async fn submit(
        &self,
        who: &Leaf,
        id: &str,
        (fields, headers): (&Fields, &[(&str, &str)]),
    ) -> Answer {
        let mut connection = self.api_as(who).connect().await;
        let mut all = BTreeMap::from([
            ("content-type", "application/x-www-form-urlencoded"),
            ("origin", "null"),
            ("sec-fetch-site", "same-origin"),
        ]);
        all.extend(headers.iter().copied());
        let mut request = connection.request("POST", &format!("/approve/{id}"));
        for (name, value) in all.into_iter().filter(|(_, value)| *value != "-") {
            request = request.header(name, value);
        }
        Answer::of(connection.send(request.body(full(encoded(fields))).unwrap()).await).await
    }
}

/// The fields of the form to approve, as they were filled in by the server.
pub(crate) fn fields(page: &Answer) -> Fields {
    of_form(page, 1)
}

/// Those of the form to deny.
pub(crate) fn denial(page: &Answer) -> Fields {
    of_form(page, 2)
}

/// Of the first form of a page, or of the second.
fn of_form(page: &Answer, number: usize) -> Fields {
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    let form = html.split("<form ").nth(number).unwrap();
    let (html, _) = form.split_once("</form>").unwrap();
    let mut fields = Fields::new();
    for input in html.split("<input ").skip(1) {
        let attribute = |name: &str| {
            let (_, rest) = input.split_once(&format!("{name}=\""))?;
            Some(plain(rest.split_once('"')?.0))
        };
        fields.insert(attribute("name").unwrap(), attribute("value").unwrap_or_default());
    }
    if let Some((_, rest)) = html.split_once("<textarea name=\"scope\"") {
        let (_, rest) = rest.split_once(">\n").unwrap();
        fields.insert("scope".to_owned(), plain(rest.split_once("</textarea>").unwrap().0));
    }
    fields
}

/// The same with what a person entered.
pub(crate) fn filled(mut fields: Fields, entered: &[(&str, &str)]) -> Fields {
    fields.extend(entered.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    fields
}

fn plain(html: &str) -> String {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(html.to_owned(), |text, (entity, plain)| text.replace(entity, plain))
}

fn encoded(fields: &Fields) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        b' ' => "+".to_owned(),
        other => format!("%{other:02X}"),
    };
    let text = |text: &str| text.bytes().map(byte).collect::<String>();
    fields.iter().map(|(name, value)| format!("{}={}", text(name), text(value))).collect::<Vec<_>>().join("&")
}
