# This node. What belongs to the cluster (mounts, policies, audit devices) is set over the API.
# Addresses under which clients and other nodes reach it stand in conclave.env beside this file.
# Check a change with:  conclave operator validate-config -config=/etc/conclave/conclave.hcl

audit_directories = ["/var/log/conclave"]

listener "tcp" {
  address         = "0.0.0.0:8200"
  cluster_address = "0.0.0.0:8201"
  tls_cert_file   = "/etc/conclave/tls/node.pem"
  tls_key_file    = "/etc/conclave/tls/node-key.pem"
}

storage "raft" {
  path = "/var/lib/conclave"
}
