# Uses the kernel's crypto sockets (AF_ALG), which have often been a way in.
import socket

for kind, name in (("hash", "sha256"), ("skcipher", "ecb(aes)"), ("aead", "gcm(aes)"), ("rng", "stdrng")):
    try:
        with socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET) as sock:
            sock.bind((kind, name))
            print(TARGET["word"], kind)
    except OSError as error:
        print(kind, error)
