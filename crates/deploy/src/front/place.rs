//! Addresses and ports of replicas behind a picker.

use std::net::{Ipv4Addr, TcpListener};

use weir_picker::PickedReplicas;

use crate::error::DeployError;

/// The first address: that of the load generator's own services is 127.0.0.1.
const FIRST: u8 = 2;
/// Another program may have a port on one of the addresses.
const ATTEMPTS: u32 = 20;

/// Loopback addresses, one per replica, and ports that are free on all of them.
pub(crate) fn place(replicas: u32) -> Result<PickedReplicas, DeployError> {
    let last = u8::try_from(u32::from(FIRST) + replicas - 1)
        .map_err(|_| DeployError::Emulated(format!("unsupported: {replicas} routed replicas")))?;
    let addresses: Vec<Ipv4Addr> =
        (FIRST..=last).map(|number| Ipv4Addr::new(127, 0, 0, number)).collect();
    let port = free_on(&addresses, None)?;
    let events_port = free_on(&addresses, Some(port))?;
    Ok(PickedReplicas { addresses, port, events_port })
}

fn free_on(addresses: &[Ipv4Addr], but: Option<u16>) -> Result<u16, DeployError> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let bound = TcpListener::bind((addresses[0], 0)).map_err(DeployError::Port)?;
        let port = bound.local_addr().map_err(DeployError::Port)?.port();
        let others = addresses[1..].iter().map(|address| TcpListener::bind((*address, port)));
        match others.collect::<Result<Vec<_>, _>>() {
            Ok(_) if but != Some(port) => return Ok(port),
            Err(error) if attempt == ATTEMPTS => return Err(DeployError::Port(error)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_replica_has_an_address_and_all_have_the_same_ports() {
        let place = place(4).unwrap();
        assert_eq!(place.addresses.len(), 4);
        assert_ne!(place.port, place.events_port);
        let bound: Vec<_> = place
            .addresses
            .iter()
            .map(|address| TcpListener::bind((*address, place.port)).unwrap())
            .collect();
        assert_eq!(bound.len(), 4);
        assert_eq!(place.names()[0], format!("127.0.0.2:{}", place.port));
    }
}
