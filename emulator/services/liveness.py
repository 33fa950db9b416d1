"""When a replica that is up counts as hanging: the thresholds of its liveness probe, as Kubernetes has them."""

from __future__ import annotations

from emulator.services.configuration import LivenessProbe


class Liveness:
    """The probes of one replica since it was started."""

    def __init__(self) -> None:
        self._failures = 0
        self._successes = 0

    def hangs(self, passed: bool, probe: LivenessProbe) -> bool:
        """Note the result of a probe; says whether the replica has to be started again.

        Failures count as long as they are not followed by ``success_threshold`` successes in a row.
        """
        if passed:
            self._successes += 1
            if self._successes >= probe.success_threshold:
                self._failures = 0
        else:
            self._successes = 0
            self._failures += 1
        return self._failures >= probe.failure_threshold
