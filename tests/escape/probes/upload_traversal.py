# Plants links on the way of what the host will put into the work folder.
import os

os.symlink(TARGET["public"], "inbox")
os.symlink(TARGET["public"] + "/planted", "input.txt")
print("planted")
