# The order of a bake: make, verify, fetch what it says of itself, clean, look once more.

build {
  sources = ["source.amazon-ebs.image"]

  provisioner "shell" {
    inline = ["cloud-init status --wait >/dev/null || true # packages of the first boot hold apt's lock"]
  }

  provisioner "ansible" {
    playbook_file    = "${path.root}/../ansible/site.yml"
    user             = "ubuntu"
    use_proxy        = false
    ansible_env_vars = local.ansible_environment
    extra_arguments  = var.ansible_arguments
  }

  provisioner "ansible" {
    playbook_file    = "${path.root}/../ansible/verify.yml"
    user             = "ubuntu"
    use_proxy        = false
    ansible_env_vars = local.ansible_environment
    extra_arguments  = var.ansible_arguments
  }

  provisioner "file" {
    direction   = "download"
    source      = "/etc/f1tenth-image.json"
    destination = "${var.output_directory}/${local.image_name}.json"
  }

  provisioner "ansible" {
    playbook_file    = "${path.root}/../ansible/sysprep.yml"
    user             = "ubuntu"
    use_proxy        = false
    ansible_env_vars = local.ansible_environment
  }

  # In the session that Packer has held open since the beginning: no one can log in any more.
  provisioner "shell" {
    script          = "${path.root}/../ansible/roles/sysprep/files/last-check.sh"
    execute_command = "sudo sh {{ .Path }}"
  }

  post-processor "manifest" {
    output     = "${var.output_directory}/${local.image_name}.manifest.json"
    strip_path = true
    custom_data = {
      git_sha             = var.git_sha
      requirements_sha256 = var.requirements_sha256
      torch_version       = var.torch_version
      driver_branch       = var.driver_branch
      build_capacity      = var.build_capacity
    }
  }
}

locals {
  ansible_environment = [
    "ANSIBLE_CONFIG=${path.root}/../ansible/ansible.cfg",
    "ANSIBLE_HOST_KEY_CHECKING=False",
  ]
}
