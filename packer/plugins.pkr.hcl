# By itself, because Debian's old packer, on which the rehearsal runs, does not know this block.
# The plugins' binaries are on HashiCorp's release site alone since amazon 1.3.10 and ansible 1.1.4, where
# `packer init` looks from Packer 1.14.0 on.
# packer>=1.7 begin
packer {
  required_version = ">= 1.14.0"
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "= 1.8.2"
    }
    ansible = {
      source  = "github.com/hashicorp/ansible"
      version = "= 1.1.6"
    }
  }
}
# packer>=1.7 end
