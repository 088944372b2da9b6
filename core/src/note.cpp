// SPDX-License-Identifier: Apache-2.0
#include "note.hpp"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "penstock/shim.hpp"

namespace penstock::sharing {

namespace {

constexpr std::size_t kDescriptors = 2;

void put(cmsghdr* head, int type, const void* data, std::size_t size) noexcept {
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = type;
  head->cmsg_len = CMSG_LEN(size);
  std::memcpy(CMSG_DATA(head), data, size);
}

/// False: it came without credentials. Whatever descriptors came are owned then.
bool take_control(msghdr& message, ReceivedNote* received) noexcept {
  bool has_credentials = false;
  for (cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
       head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET) continue;
    if (head->cmsg_type == SCM_CREDENTIALS && head->cmsg_len == CMSG_LEN(sizeof(ucred))) {
      ucred from{};
      std::memcpy(&from, CMSG_DATA(head), sizeof from);
      received->pid = from.pid;
      received->uid = from.uid;
      has_credentials = true;
    } else if (head->cmsg_type == SCM_RIGHTS) {
      std::size_t const size = head->cmsg_len - CMSG_LEN(0);
      for (std::size_t at = 0; at + sizeof(int) <= size; at += sizeof(int)) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(head) + at, sizeof number);
        Descriptor came(number);  // Closed, if nobody wants it.
        if (at / sizeof number < kDescriptors) {
          std::swap(at == 0 ? received->bells : received->channel, came);
        }
      }
    }
  }
  return has_credentials;
}

}  // namespace

int send_note(int socket, const Note& note, std::span<const int> descriptors) noexcept {
  iovec part{const_cast<Note*>(&note), sizeof note};
  alignas(cmsghdr) char
      control[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(kDescriptors * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  const ucred self{getpid(), getuid(), getgid()};
  cmsghdr* head = CMSG_FIRSTHDR(&message);
  put(head, SCM_CREDENTIALS, &self, sizeof self);
  message.msg_controllen = CMSG_SPACE(sizeof self);
  if (!descriptors.empty()) {
    message.msg_controllen += CMSG_SPACE(descriptors.size_bytes());
    head = CMSG_NXTHDR(&message, head);
    put(head, SCM_RIGHTS, descriptors.data(), descriptors.size_bytes());
  }
  fail_point("note.send.before");
  ssize_t sent = 0;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  return sent < 0 ? errno : 0;
}

int receive_note(int socket, ReceivedNote* received) noexcept {
  *received = {};
  iovec part{&received->note, sizeof received->note};
  alignas(cmsghdr) char
      control[CMSG_SPACE(sizeof(ucred)) + CMSG_SPACE(kDescriptors * sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t count = 0;
  bool was_reset = false;
  do {
    count = recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    // Who closes with something unread resets the connection; that is said before its last words.
  } while (count < 0 &&
           (errno == EINTR || (errno == ECONNRESET && !std::exchange(was_reset, true))));
  if (count < 0) return errno;
  fail_point("note.receive.after");
  const bool has_credentials = take_control(message, received);
  if (count == 0) return ECONNRESET;
  const Note& note = received->note;
  const bool is_whole = count == sizeof note && (message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == 0;
  if (!is_whole || !has_credentials || note.magic != Note::kMagic) return EPROTO;
  return note.version == Note::kVersion ? 0 : EPROTONOSUPPORT;
}

int ask_for_credentials(int socket) noexcept {
  const int on = 1;
  return setsockopt(socket, SOL_SOCKET, SO_PASSCRED, &on, sizeof on) == 0 ? 0 : errno;
}

bool is_trusted(uid_t uid) noexcept { return uid == 0 || uid == geteuid(); }

bool is_peer_trusted(int socket) noexcept {
  ucred peer{};
  socklen_t size = sizeof peer;
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && is_trusted(peer.uid);
}

Descriptor open_process(pid_t pid) noexcept {
  return Descriptor(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
}

bool has_ended(const Descriptor& process) noexcept {
  pollfd look{process.get(), POLLIN, 0};
  return poll(&look, 1, 0) == 1;
}

}  // namespace penstock::sharing
