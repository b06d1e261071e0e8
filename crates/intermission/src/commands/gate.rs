//! The gate that a command is about: the configuration's own, or the one named by `--gate`.

use std::path::Path;

use anyhow::Context;

use crate::admin::client::Client;
use crate::config::Config;
use crate::config::cluster::{GateAddress, RemoteGate, SwapGate};

/// # Errors
/// `named` is an address that `swap.gates` does not have, or what `swap.gates` says of it cannot be used.
pub(crate) fn client(config: &Config, named: Option<&Path>) -> anyhow::Result<Client> {
    let Some(named) = named else { return Ok(Client::new(&config.gate.admin_socket)) };
    let address = named.to_str().and_then(|text| text.parse::<GateAddress>().ok());
    let Some(address) = address else { return Ok(Client::new(named)) };
    let gates = config.swap.as_ref().map(|swap| swap.gates.as_slice()).unwrap_or_default();
    let (index, gate) =
        remotes(gates).find(|(_, gate)| gate.address == address).with_context(|| {
            let known: Vec<String> =
                remotes(gates).map(|(_, gate)| gate.address.to_string()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            format!(
                "no gate at {address} in swap.gates, which say how to reach one; there is: {known}"
            )
        })?;
    remote(gate, index)
}

/// `index` is the gate's in `swap.gates`.
pub(super) fn remote(gate: &RemoteGate, index: usize) -> anyhow::Result<Client> {
    Ok(Client::remote(gate, &format!("swap.gates[{index}]"))?)
}

fn remotes(gates: &[SwapGate]) -> impl Iterator<Item = (usize, &RemoteGate)> {
    gates.iter().enumerate().filter_map(|(index, gate)| match gate {
        SwapGate::Remote(gate) => Some((index, gate)),
        SwapGate::Socket(_) => None,
    })
}
