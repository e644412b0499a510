# Computes one number, in a call that looks at no signal for minutes.
print(len(str(hash((3 ** (10**8)) * (7 ** (10**8))))))
