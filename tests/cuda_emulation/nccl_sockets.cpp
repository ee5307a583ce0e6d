#include "tests/cuda_emulation/nccl_sockets.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace cuda_emulation {
namespace {

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "CUDA emulation: NCCL: %s: %s\n", what, std::strerror(errno));
    std::abort();
}

/// In the abstract namespace, which needs no file.
std::pair<sockaddr_un, socklen_t> address_of(const std::string& name, int rank) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string full = name + "-" + std::to_string(rank);
    if (full.size() + 1 > sizeof address.sun_path) fail("the name of a communicator is too long");
    std::memcpy(address.sun_path + 1, full.data(), full.size());
    return {address, static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + full.size())};
}

int new_socket() {
    const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (socket < 0) fail("socket");
    return socket;
}

int connect_to(const std::string& name, int peer, int rank) {
    const auto [address, length] = address_of(name, peer);
    const int socket = new_socket();
    while (connect(socket, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
        if (errno != ECONNREFUSED && errno != ENOENT && errno != EINTR) fail("connect");
        usleep(1000); // it does not listen yet
    }
    if (send(socket, &rank, sizeof rank, MSG_NOSIGNAL) != sizeof rank) fail("send");
    return socket;
}

/// A message on its way, with its size in front.
struct Transfer {
    Message& message;
    uint64_t header;
    size_t done = 0; // bytes, of header and message

    explicit Transfer(Message& m) : message(m), header(m.is_send ? m.bytes.size() : 0) {}
    bool finished() const { return done == sizeof header + message.bytes.size(); }

    /// False where the peer has gone.
    bool move(int socket) {
        while (!finished()) {
            const bool in_header = done < sizeof header;
            char* at = in_header ? reinterpret_cast<char*>(&header) + done
                                 : message.bytes.data() + (done - sizeof header);
            const size_t left =
                in_header ? sizeof header - done : sizeof header + message.bytes.size() - done;
            const ssize_t moved = message.is_send ? send(socket, at, left, MSG_DONTWAIT | MSG_NOSIGNAL)
                                                  : recv(socket, at, left, MSG_DONTWAIT);
            if (moved < 0 && (errno == EAGAIN || errno == EINTR)) return true;
            if (moved <= 0) return false;
            done += static_cast<size_t>(moved);
            if (done == sizeof header && header != message.bytes.size()) {
                std::fprintf(stderr, "CUDA emulation: NCCL: a message of %zu bytes for a receiver of %zu\n",
                             static_cast<size_t>(header), message.bytes.size());
                std::abort();
            }
        }
        return true;
    }
};

} // namespace

Sockets::Sockets(std::string name, int rank, int size)
    : name_(std::move(name)), rank_(rank), sockets_(static_cast<size_t>(size), -1) {
    const auto [address, length] = address_of(name_, rank);
    const int listener = new_socket();
    if (bind(listener, reinterpret_cast<const sockaddr*>(&address), length) != 0 || listen(listener, size))
        fail("listen");
    for (int peer = 0; peer < rank; ++peer)
        sockets_[static_cast<size_t>(peer)] = connect_to(name_, peer, rank);
    for (int i = rank + 1; i < size; ++i) {
        const int socket = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        int peer = -1;
        if (socket < 0 || recv(socket, &peer, sizeof peer, MSG_WAITALL) != sizeof peer) fail("accept");
        sockets_[static_cast<size_t>(peer)] = socket;
    }
    close(listener);
}

Sockets::~Sockets() {
    for (const int socket : sockets_)
        if (socket >= 0) close(socket);
}

bool Sockets::exchange(std::vector<Message>& messages) {
    std::vector<Transfer> transfers;
    for (Message& message : messages) transfers.emplace_back(message);
    while (!aborted_) {
        std::vector<pollfd> waits;
        std::vector<Transfer*> first; // the first unfinished one of each peer and direction
        for (Transfer& transfer : transfers) {
            if (transfer.finished()) continue;
            const Message& m = transfer.message;
            bool behind = false;
            for (const Transfer* other : first)
                behind |= other->message.peer == m.peer && other->message.is_send == m.is_send;
            if (behind) continue;
            first.push_back(&transfer);
            waits.push_back(
                {sockets_[static_cast<size_t>(m.peer)], static_cast<short>(m.is_send ? POLLOUT : POLLIN), 0});
        }
        if (first.empty()) return true;
        if (poll(waits.data(), waits.size(), 50) < 0 && errno != EINTR) fail("poll");
        for (size_t i = 0; i < first.size(); ++i)
            if (waits[i].revents && !first[i]->move(waits[i].fd)) return false;
    }
    return false;
}

} // namespace cuda_emulation
