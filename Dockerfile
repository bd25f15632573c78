# The balancer as an image that holds one static binary and the certificate authorities, nothing else.
#
#   docker build -t loadbalancer .                              the balancer
#   docker build -t loadbalancer-backend --target backend .     the demo backend that docker-compose.yml starts
#   docker build -t loadbalancer-etcd --target etcd .           the etcd that it starts, of the version that tests run against
#
#   docker run -p 8080:8080 loadbalancer --discovery consul://consul:8500
#   docker run -p 8080:8080 -v "$PWD/config.yaml:/config.yaml:ro" loadbalancer --config /config.yaml
#
# VERSION is told by `loadbalancer version`, the API and the metric lb_build_info.

FROM golang:1.26-alpine AS build
RUN apk add --no-cache ca-certificates
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ENV CGO_ENABLED=0
RUN go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /out/loadbalancer ./cmd/loadbalancer \
 && go build -trimpath -ldflags "-s -w" -o /out/backend ./internal/demo/cmd/backend

FROM build AS build-etcd
RUN cd integration/tools/etcd && go build -trimpath -ldflags "-s -w" -o /out/etcd go.etcd.io/etcd/server/v3

FROM scratch AS etcd
COPY --from=build-etcd /out/etcd /etcd
EXPOSE 2379
ENTRYPOINT ["/etcd"]

FROM scratch AS backend
COPY --from=build /out/backend /backend
USER 65532:65532
EXPOSE 8081
ENTRYPOINT ["/backend"]

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/loadbalancer /loadbalancer
USER 65532:65532
# 8080 takes clients; 9901 is the admin, which listens on loopback inside the container unless configured with a token.
EXPOSE 8080 9901
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s --retries=3 CMD ["/loadbalancer", "healthcheck"]
ENTRYPOINT ["/loadbalancer"]
