# The whole cloud on this computer: included by the Makefile, after ansible/image.mk.
#   make rehearsal ARGS=--plain          make rehearsal-chaos ARGS="disk-full crash-loop"
REHEARSE = $(IMAGE_ENV) $(PY) -m tests.rehearsal

# As root, and with a baked root of this tree; otherwise the rehearsal itself says what it skips.
.PHONY: rehearsal-root
rehearsal-root: $(TEST_STAMP)
	@if [ "$$(id -u)" = 0 ] && ! $(REHEARSE) baked >/dev/null 2>&1; then $(MAKE) baked-root; fi

.PHONY: rehearsal
rehearsal: rehearsal-root ## Play a whole run in the cloud, without AWS: spot notice, relaunch, resume (root; ARGS=--plain)
	@$(REHEARSE) story $(ARGS)

.PHONY: rehearsal-chaos
rehearsal-chaos: rehearsal-root ## Break such a run in every phase, and count what survives (ARGS="CASE …")
	@$(REHEARSE) chaos $(ARGS)
