# The image of Fairlead: both binaries, the operator by default and the proxy by its command.
#
# hack/image builds the same image without a container engine and takes its list of files from the final stage below. It
# refuses an instruction it does not understand there, so change the two together.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o bin/ ./cmd/operator ./cmd/proxy

FROM gcr.io/distroless/static:nonroot
COPY --from=build /src/bin/operator /operator
COPY --from=build /src/bin/proxy /proxy
USER 65532:65532
ENTRYPOINT ["/operator"]
