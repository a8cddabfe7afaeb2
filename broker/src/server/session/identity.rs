//! Who a client is, as one line of text that rules and logs can go by.

use sealstream_transport::Identity;

/// Who shows no certificate, or one without a name.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// The first name of the first kind that the verified certificate has: SPIFFE ID, DNS name, e-mail, common name.
pub(crate) fn text_of(identity: Option<&Identity>) -> String {
    let Some(identity) = identity else { return ANONYMOUS.to_owned() };
    let spiffe = || identity.spiffe_id.clone();
    let dns = || identity.dns_names.first().map(|name| format!("dns:{name}"));
    let email = || identity.emails.first().map(|email| format!("email:{email}"));
    let common = || identity.common_name.as_ref().map(|name| format!("cn:{name}"));
    spiffe().or_else(dns).or_else(email).or_else(common).unwrap_or_else(|| ANONYMOUS.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_the_first_kind_counts() {
        let mut identity = Identity {
            spiffe_id: Some("spiffe://example.org/writer".into()),
            dns_names: vec!["a.example.org".into(), "b.example.org".into()],
            emails: vec!["ops@example.org".into()],
            common_name: Some("writer".into()),
            ..Identity::default()
        };
        assert_eq!(text_of(Some(&identity)), "spiffe://example.org/writer");
        identity.spiffe_id = None;
        assert_eq!(text_of(Some(&identity)), "dns:a.example.org");
        identity.dns_names.clear();
        assert_eq!(text_of(Some(&identity)), "email:ops@example.org");
        identity.emails.clear();
        assert_eq!(text_of(Some(&identity)), "cn:writer");
        identity.common_name = None;
        assert_eq!(text_of(Some(&identity)), "anonymous");
        assert_eq!(text_of(None), "anonymous");
    }
}
