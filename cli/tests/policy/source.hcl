# top comment
path   "secret/*" { capabilities=["read",
"list",] } // tail


path "a" {

  min_wrapping_ttl = "1s" # why
  max_wrapping_ttl="2s"


  # inner
  capabilities = [ "read","list" ]
  allowed_parameters = { "bar" = ["a","b"],  "longer_name" = [] }
}
/* block
   comment */
path "b/+/c" { capabilities = ["deny"] max_wrapping_ttl = "90s" }
path "d" { policy = "read" }
path "e" {}
path "multi" {
  capabilities = [
    "create",
    # middle
    "read"
  ]
  required_parameters = ["x"]
}

path "a2" {
  min_wrapping_ttl = "1s"
  # lead
  max_wrapping_ttl = "2s" # tail
  capabilities = ["read"] // t2
}
# lone

# lead b
path "b" {
  # only
  capabilities = ["read",
    "list"] # after list
  # last in block
}
path "c" {
  capabilities = ["read"]

  policy = "read"
  denied_parameters = {
  }
}
path "d" {
  # nothing
}
path "long" {
  capabilities = ["create", "read", "update", "delete", "list", "create", "read", "update", "delete", "list", "sudo"]
  required_parameters = [
  ]
  allowed_parameters = { "a" = [
    "x", # in
 "y" ] }
}

