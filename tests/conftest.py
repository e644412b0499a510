"""What every test file may use: the checkout, the shared data beside it, and one hypothesis profile.

The tests of this project make their own inputs. A few also read data that is not part of the project (published
dialogues, golden numbers); they ask for it by the `shared` fixture and skip with a reason where there is none.
"""

import os
import signal
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

CHECKOUT = Path(__file__).resolve().parent.parent

# Derandomised, so that a red run can be had again by anyone; no deadline, because a busy machine is no failure.
settings.register_profile("ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

# A shell starts a background job with Ctrl-C ignored, and the programs that the tests start and interrupt would inherit
# that.
if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the checkout that these tests belong to."""
    return CHECKOUT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data: `$TIR_GYM_SHARED`, or `shared` beside the checkout. Skips where it is absent."""
    named = os.environ.get("TIR_GYM_SHARED")
    folder = Path(named) if named else CHECKOUT.parent / "shared"
    if not folder.is_dir():
        where = "$TIR_GYM_SHARED" if named else "../shared beside the checkout; set TIR_GYM_SHARED to name another"
        pytest.skip(f"no shared data at {folder} ({where})")
    return folder.resolve()


@pytest.fixture(scope="session")
def own_root() -> None:
    """For what needs tier A: the same paths, owners and order of files on every host. Skips where there is none."""
    from tir_gym.sandboxes.jail.tiers import fault

    if (reason := fault("A")) is not None:
        pytest.skip(f"no tier A here: {reason}")
