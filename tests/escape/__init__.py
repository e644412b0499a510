"""Attacks on the sandboxes, judged by what happens to the host.

`probes/` holds the attacks, one file each, as a model would submit them. `cases.py` declares what each one attacks and
which canary has to sing when nothing stands in its way; `host.py` keeps the canaries; `naive.py` is the runner without
any protection on which every probe must get through, so that a broken probe cannot pass; `attack.py` plays one case on
one sandbox. What the probe says about itself decides nothing but where the host cannot look.
"""
