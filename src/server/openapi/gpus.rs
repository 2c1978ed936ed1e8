//! GPUs and leases of them.

use super::{
    documents::{GpuList, LeaseDocument, LeaseList},
    operation::{Operation, op},
};
use crate::server::leases;

const TAG: &str = "gpus";
const JSON: &str = "application/json";

pub(super) fn docs() -> Vec<Operation> {
    vec![
        op(("GET", "/api/v1/gpus"), (TAG, "listGpus"), "The GPUs, who holds and who awaits them")
            .json::<GpuList>(200, "The GPUs.")
            .problems(&[503]),
        op(("GET", "/api/v1/gpus/leases"), (TAG, "listLeases"), "The leases of GPUs")
            .json::<LeaseList>(200, "The leases.")
            .problems(&[503]),
        op(("POST", "/api/v1/gpus/leases"), (TAG, "acquireLease"), "Lease GPUs")
            .says("For a program that Berth does not run, for a time.")
            .takes::<leases::Acquire>(JSON)
            .json::<LeaseDocument>(201, "They are its own; `Location` names the lease.")
            .problems(&[409, 422])
            .once(),
        op(
            ("POST", "/api/v1/gpus/leases/{id}/renew"),
            (TAG, "renewLease"),
            "Keep a lease for longer",
        )
        .takes::<leases::Renew>(JSON)
        .json::<LeaseDocument>(200, "The lease.")
        .problems(&[404, 409]),
        op(("DELETE", "/api/v1/gpus/leases/{id}"), (TAG, "releaseLease"), "End a lease")
            .query::<leases::Release>()
            .json::<LeaseDocument>(200, "What it was.")
            .problems(&[404, 409]),
    ]
}
