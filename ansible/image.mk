# The image: included by the Makefile, which has PY, TEST_STAMP and the shell's settings.
#   make molecule ROLE=trainer        one role        make ami CONFIG=my.yaml UBUNTU=24.04 ARGS="--on-demand"
ROLES := trainer python_env base monitoring nvidia sysprep
BIN := $(abspath .venv/bin)
# Ansible starts again for each phase of a scenario: Python's bytecode of it is kept, whatever the environment says.
IMAGE_ENV := PATH="$(BIN):$$PATH" CONTAINERS_CONF="$(abspath tests/image/containers.conf)" PYTHONWARNINGS=ignore \
	PYTHONDONTWRITEBYTECODE=
SYSTEM_PACKAGES := packer podman mmdebstrap arch-test uidmap runc netavark aardvark-dns openssh-client iproute2 \
	iptables nftables
IMAGE_STAMP := .venv/.stamp-image-$(call hash,requirements.txt tests/requirements.txt ansible/requirements.txt)
# The names of these tests keep them out of `make check`: they need containers and minutes.
CONTAINER_PYTEST = $(IMAGE_ENV) $(PY) -m pytest -c /dev/null --noconftest --rootdir tests/image --import-mode=prepend \
	-p no:cacheprovider -p no:randomly -s --durations=5

$(IMAGE_STAMP): | $(TEST_STAMP)
	@echo "Installing Ansible, its linter and molecule into .venv: 500 MB ..."
	$(PIP) -q install --no-compile -r ansible/requirements.txt
	@rm -f .venv/.stamp-image-* && touch $@

.PHONY: system-packages
system-packages: # Debian packages that containers, Packer and the stand-in root need
	@missing=$$(for p in $(SYSTEM_PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || echo $$p; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "Run this, then make again: sudo apt-get install" $$missing; exit 1; fi; \
	echo "Installing from Debian:" $$missing; export DEBIAN_FRONTEND=noninteractive; apt-get update -q >/dev/null; \
	apt-get install -qy --no-install-recommends $$missing >/dev/null

.PHONY: test-root
test-root: $(IMAGE_STAMP) system-packages # The root that boots systemd in a container, built once
	@$(IMAGE_ENV) $(PY) tests/image/rootfs.py

.PHONY: test-roots
test-roots: $(IMAGE_STAMP) system-packages # That one and Debian 11's, whose systemd is older than Ubuntu's; at the same time
	@$(IMAGE_ENV) $(PY) tests/image/rootfs.py bookworm bullseye

.PHONY: lint-ansible
lint-ansible: $(IMAGE_STAMP) ## Lint the roles, production profile, and the Packer files
	cd ansible && $(IMAGE_ENV) ansible-lint --offline --profile production
	@if command -v packer >/dev/null; then packer fmt -check packer; else echo "packer is not installed: its files' format is not checked"; fi

.PHONY: molecule
molecule: test-roots ## Try every role in a container, the trainer on two systemds, three at a time (ROLE=trainer for one)
	@printf '%s\n' $(or $(ROLE),$(ROLES)) | $(IMAGE_ENV) xargs -P 3 -n 1 tests/molecule/try.sh

.PHONY: molecule-nvidia
molecule-nvidia: test-root ## Try the nvidia role with Debian's own driver packages: 5 GB, once
	@$(IMAGE_ENV) F1TENTH_NVIDIA_REAL=1 F1TENTH_NVIDIA_BRANCH=535 tests/molecule/try.sh nvidia

.PHONY: ami-plan
ami-plan: $(IMAGE_STAMP) ## Install Packer's plugins, validate the Packer files, say what a bake costs: free
	$(IMAGE_ENV) $(PY) packer/ami.py plan $(if $(CONFIG),--config '$(CONFIG)')$(if $(UBUNTU), --ubuntu '$(UBUNTU)') $(ARGS)

.PHONY: ami
ami: $(IMAGE_STAMP) ## Bake the AMI: validate, say the cost, build, prune (costs money; CONFIG=file, UBUNTU=24.04, ARGS="--on-demand")
	$(IMAGE_ENV) $(PY) packer/ami.py build $(if $(CONFIG),--config '$(CONFIG)')$(if $(UBUNTU), --ubuntu '$(UBUNTU)') $(ARGS)

.PHONY: ami-rehearsal
ami-rehearsal: test-root ## Bake without AWS: packer, SSH, the whole site; leaves .cache/image/baked.tar
	$(CONTAINER_PYTEST) -n 3 --dist loadfile \
		tests/image/bake_rehearsal.py tests/image/bake_failures.py tests/image/bake_capacity.py \
		tests/image/bake_inventory.py

.PHONY: baked-root
baked-root: test-root # The bake of `make ami-rehearsal` alone: the root that a rehearsal boots
	$(CONTAINER_PYTEST) tests/image/bake_rehearsal.py -k "builder or kept_root"
