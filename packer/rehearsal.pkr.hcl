# Values that `make ami-rehearsal` sets to bake a container instead of an instance, against an emulator of EC2.
# On AWS all of these keep their defaults.

variable "rehearsal_endpoint" {
  description = "Address of the EC2 emulator; empty on AWS."
  type        = string
  default     = ""
  validation {
    condition     = regex_replace(var.rehearsal_endpoint, "^https?://[^ ]+$", "") == ""
    error_message = "The rehearsal_endpoint must be an address that begins with http, or be empty."
  }
}

variable "rehearsal_ssh_host" {
  description = "Address of the container that stands in for the builder; empty on AWS."
  type        = string
  default     = ""
  validation {
    condition     = regex_replace(var.rehearsal_ssh_host, "^[A-Za-z0-9.:-]+$", "") == ""
    error_message = "The rehearsal_ssh_host must be a host or an address, or be empty."
  }
}

variable "rehearsal_ssh_port" {
  description = "SSH port of the builder."
  type        = number
  default     = 22
  validation {
    condition     = var.rehearsal_ssh_port > 0 && var.rehearsal_ssh_port < 65536
    error_message = "The rehearsal_ssh_port must be between 1 and 65535."
  }
}

variable "rehearsal_ssh_private_key_file" {
  description = "Key that opens the container; empty on AWS, where a temporary key pair is made."
  type        = string
  default     = ""
  validation {
    condition     = regex_replace(var.rehearsal_ssh_private_key_file, "^/.+$", "") == ""
    error_message = "The rehearsal_ssh_private_key_file must be an absolute path, or be empty."
  }
}

locals {
  rehearsal = var.rehearsal_endpoint != ""
}
