# By itself, because Debian's old packer, on which the rehearsal runs, does not know this block.
# packer>=1.7 begin
packer {
  required_version = ">= 1.11.0"
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = "= 1.3.9"
    }
    ansible = {
      source  = "github.com/hashicorp/ansible"
      version = "= 1.1.4"
    }
  }
}
# packer>=1.7 end
