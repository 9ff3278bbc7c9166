//! Whom HTTPS trusts: what the system trusts, read when the first server has to be verified.
//!
//! Reading the system's certificates takes longer than everything else in a start, and a gateway that speaks HTTPS to nobody never needs
//! them. One reading serves every client of a life; the next life reads anew.

use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use rustls_platform_verifier::Verifier;

/// How clients speak TLS. Clones share one set of certificates.
pub(super) fn client_config() -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let system = Arc::new(System { provider: provider.clone(), verifier: OnceLock::new() });
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    // "Dangerous" is any verifier but the default; this one is the system's.
    let mut config = builder.dangerous().with_custom_certificate_verifier(system).with_no_client_auth();
    config.alpn_protocols = vec!["h2".into(), "http/1.1".into()];
    Ok(config)
}

/// The system's verifier, made when it is needed.
#[derive(Debug)]
struct System {
    provider: Arc<CryptoProvider>,
    verifier: OnceLock<Result<Verifier, Error>>,
}

impl System {
    fn verifier(&self) -> Result<&Verifier, Error> {
        self.verifier.get_or_init(|| Verifier::new(self.provider.clone())).as_ref().map_err(Clone::clone)
    }
}

impl ServerCertVerifier for System {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.verifier()?.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier()?.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A certificate that nobody vouches for, for `stranger.example`.
    const STRANGER: &[u8] = include_bytes!("trust/stranger.der");

    #[test]
    fn g23_a_server_that_nobody_vouches_for_is_refused_and_only_then_is_anything_read() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let system = System { provider, verifier: OnceLock::new() };
        assert!(!system.supported_verify_schemes().is_empty());
        assert!(system.verifier.get().is_none(), "a start reads no certificates");
        let name = ServerName::try_from("stranger.example").expect("a name");
        let verified = system.verify_server_cert(&CertificateDer::from(STRANGER), &[], &name, &[], UnixTime::now());
        assert!(verified.is_err(), "{verified:?}");
        assert!(system.verifier.get().is_some());
    }
}
