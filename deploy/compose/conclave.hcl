# All three nodes read this; addresses and zones stand in compose.yaml. Each makes its own certificate and authority.
audit_directories  = ["/var/log/conclave"]
operations_address = "0.0.0.0:8202"

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
}

storage "raft" {
  path = "/var/lib/conclave"
}
