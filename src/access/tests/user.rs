//! The human behind a request, where a service demands to know.

use super::*;
use crate::model::UserId;
use crate::model::grant::Lineage;
use DenyReason::*;

#[test]
fn the_user_of_a_service_that_asks_is_looked_at_last_and_must_be_the_grants() {
    let user = |subject: &str| UserId { issuer: "https://idp".into(), subject: subject.into() };
    let of = |number, scope: &str, subject: &str| {
        let lineage = Lineage { on_behalf_of: Some(user(subject)), ..Lineage::default() };
        Grant { lineage: Some(Arc::new(lineage)), ..grant(number, scope) }
    };
    let table =
        table(vec![of(1, "orders:GET:/a", "ada"), of(2, "orders:GET:/a", "bob"), grant(3, "orders:GET:/b")]);
    let ask = |path: &str, user: UserProof<'_>| {
        let parts = parts("GET", path, &[]);
        let view = View::of(&parts).unwrap();
        let request = Request {
            service: "orders",
            view: &view,
            call: None,
            only: None,
            source: HERE,
            token: None,
            token_required: false,
            user,
        };
        outcome(decide(&table.slot(&agent("a")).load(), &request, at(150))).map_err(|denial| denial.reason)
    };
    let (ada, bob, eve) = (user("ada"), user("bob"), user("eve"));
    let elsewhere = UserId { issuer: "https://other".into(), subject: "ada".into() };
    assert_eq!(ask("/a", UserProof::NotDemanded), Ok(id(1)));
    assert_eq!(ask("/a", UserProof::Proven(&ada)), Ok(id(1)));
    assert_eq!(ask("/a", UserProof::Proven(&bob)), Ok(id(2)));
    for other in [&eve, &elsewhere] {
        assert_eq!(ask("/a", UserProof::Proven(other)), Err(TokenInvalid));
        assert_eq!(ask("/b", UserProof::Proven(other)), Ok(id(3)), "it is nobody's");
    }
    for path in ["/a", "/b"] {
        assert_eq!(ask(path, UserProof::Missing), Err(TokenRequired));
        assert_eq!(ask(path, UserProof::Refused), Err(TokenInvalid));
    }
    // Whose grants do not match learns nothing of what the service demands.
    for user in [UserProof::Missing, UserProof::Refused, UserProof::Proven(&ada)] {
        assert_eq!(ask("/c", user), Err(OutOfScope));
    }
    let same = of(1, "orders:GET:/a", "eve");
    let cut = table.replace(vec![Arc::new(same)], Default::default(), Revision(2), at(150)).unwrap();
    assert_eq!(cut.len(), 3, "a grant for another user is another grant: {cut:?}");
}
