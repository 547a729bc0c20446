//! Where requests may not go, decided on the address that is really connected to.
//!
//! Link-local addresses and the cloud's metadata services hand out
//! credentials to whoever asks, so they are refused always; private addresses
//! are refused unless the profile allows them for that endpoint.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::diagnosis::Explained;

/// Names under which clouds answer for their metadata, whatever they resolve to.
const METADATA_NAMES: &[&str] = &[
    "metadata",
    "metadata.google.internal",
    "metadata.goog",
    "instance-data",
    "instance-data.ec2.internal",
    "metadata.azure.internal",
    "metadata.packet.net",
    "metadata.tencentyun.com",
];

/// How far away an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    Public,
    Private,
    Never,
}

fn reach(ip: IpAddr) -> Reach {
    match ip {
        IpAddr::V4(ip) => reach_v4(ip),
        IpAddr::V6(ip) => reach_v6(ip),
    }
}

fn reach_v4(ip: Ipv4Addr) -> Reach {
    let [a, b, ..] = ip.octets();
    // Alibaba's metadata service is outside the link-local range.
    if ip.is_link_local()
        || ip.is_multicast()
        || ip.is_broadcast()
        || ip == Ipv4Addr::new(100, 100, 100, 200)
        || a >= 240
    {
        Reach::Never
    } else if ip.is_private()
        || ip.is_loopback()
        || a == 0
        || (a == 100 && (64..128).contains(&b))
        || (a == 198 && (18..20).contains(&b))
    {
        Reach::Private
    } else {
        Reach::Public
    }
}

fn reach_v6(ip: Ipv6Addr) -> Reach {
    let segments = ip.segments();
    // IPv4 in IPv6's clothes: mapped, compatible, and behind NAT64 and 6to4.
    let inner = match segments {
        [0, 0, 0, 0, 0, 0xffff, high, low] => Some((high, low)),
        [0, 0, 0, 0, 0, 0, high, low] if (high, low) > (0, 1) => Some((high, low)),
        [0x64, 0xff9b, .., high, low] => Some((high, low)),
        [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    if let Some((high, low)) = inner {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        return reach_v4(Ipv4Addr::new(a, b, c, d));
    }
    // Amazon's metadata service over IPv6 stands in the private range.
    if (segments[0] & 0xffc0) == 0xfe80 || ip.is_multicast() || ip == Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)
    {
        Reach::Never
    } else if ip.is_loopback()
        || ip.is_unspecified()
        || (segments[0] & 0xfe00) == 0xfc00
        || (segments[0] & 0xffc0) == 0xfec0
    {
        Reach::Private
    } else {
        Reach::Public
    }
}

/// Refuses a name that stands for a metadata service.
pub(crate) fn check_name(host: &str) -> Result<(), Explained> {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if METADATA_NAMES.contains(&host.as_str()) {
        return Err(refusal(&host, "it is a cloud's metadata service, which hands out credentials"));
    }
    Ok(())
}

/// Refuses an address that may not be connected to.
pub(crate) fn check(host: &str, ip: IpAddr, allow_private: bool) -> Result<(), Explained> {
    match (reach(ip), allow_private) {
        (Reach::Public, _) | (Reach::Private, true) => Ok(()),
        (Reach::Never, _) => {
            Err(refusal(host, "it is a link-local, metadata or multicast address, where a cloud hands out credentials"))
        }
        (Reach::Private, false) => Err(Explained {
            code: "FORBIDDEN-HOST".into(),
            what: format!(
                "I do not send requests to {host}: its address is private and the profile does not allow that"
            ),
            cause: "the name points inside the network; an endpoint must say `allow_private = true` for that".into(),
            next: "if that is intended, add `allow_private = true` to the endpoint in the service's profile".into(),
        }),
    }
}

/// Refuses when any of the addresses is forbidden: one good address beside a bad one is how rebinding starts.
pub(crate) fn check_all(host: &str, found: &[SocketAddr], allow_private: bool) -> Result<(), Explained> {
    check_name(host)?;
    found.iter().try_for_each(|address| check(host, address.ip(), allow_private))
}

fn refusal(host: &str, why: &str) -> Explained {
    Explained {
        code: "FORBIDDEN-HOST".into(),
        what: format!("I do not send requests to {host}: {why}"),
        cause: "such addresses are never allowed, whatever a profile says".into(),
        next: "correct the address in the service's profile".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn link_local_and_metadata_are_never_reached_in_any_spelling() {
        for ip in [
            "169.254.169.254",
            "169.254.0.1",
            "100.100.100.200",
            "fe80::1",
            "febf::1",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::1",
            "fd00:ec2::254",
            "224.0.0.1",
            "255.255.255.255",
            "ff02::1",
        ] {
            assert!(check("x", ip.parse().unwrap(), true).is_err(), "{ip}");
        }
        for name in ["metadata.google.internal", "Metadata.Google.Internal.", "metadata"] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn private_addresses_need_the_profiles_word() {
        for ip in [
            "127.0.0.1",
            "10.1.2.3",
            "192.168.0.1",
            "172.20.0.1",
            "::1",
            "fd12::1",
            "0.0.0.0",
            "::",
            "::ffff:10.0.0.1",
            "100.64.0.1",
        ] {
            let ip = ip.parse().unwrap();
            assert!(check("x", ip, false).is_err(), "{ip}");
            assert!(check("x", ip, true).is_ok(), "{ip}");
        }
        for ip in ["1.1.1.1", "2606:4700::1111", "172.32.0.1"] {
            assert!(check("x", ip.parse().unwrap(), false).is_ok(), "{ip}");
        }
    }
}
