//! The lab: throwaway clusters, a ledger application, load and an oracle. Not shipped.
